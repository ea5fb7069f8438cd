"""What a stream holds, from its put until it is stored or reported; `Buffer` owns all of it."""
