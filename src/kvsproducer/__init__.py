"""kvsproducer: a producer SDK for Amazon Kinesis Video Streams."""
