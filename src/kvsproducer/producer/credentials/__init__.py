"""Where AWS credentials come from: one noun a file.

`AwsCredentials` is what they are; `provider` says what a provider is, and `static`, `file`, `iot`,
`session` (botocore's) and `own` (a user's function) are the kinds of it; `refresh` holds what they
give until it is about to expire; `source` makes one of these from `Producer(credentials=)`.
"""

from kvsproducer.producer.credentials.credentials import AwsCredentials
from kvsproducer.producer.credentials.file import FileCredentials
from kvsproducer.producer.credentials.iot import IotCredentials
from kvsproducer.producer.credentials.provider import CredentialsProvider
from kvsproducer.producer.credentials.source import CredentialsSource
from kvsproducer.producer.credentials.static import StaticCredentials

__all__ = [
    "AwsCredentials",
    "CredentialsProvider",
    "CredentialsSource",
    "FileCredentials",
    "IotCredentials",
    "StaticCredentials",
]
