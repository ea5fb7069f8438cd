"""The frames that a stream holds, from the put until they are stored or dropped; see `Buffer`."""
