"""Where AWS credentials come from: one noun a file.

`AwsCredentials` is what they are; `provider` says what a provider is, and `static`, `file`, `iot`,
`session` (botocore's) and `own` (a user's function) are the kinds of it; `refresh` holds what they
give until it is about to expire; `source` makes one of these from `Producer(credentials=)`.
"""

from kvsproducer.service.credentials.credentials import AwsCredentials
from kvsproducer.service.credentials.file import FileCredentials
from kvsproducer.service.credentials.iot import IotCredentials
from kvsproducer.service.credentials.provider import CredentialsProvider
from kvsproducer.service.credentials.source import CredentialsSource
from kvsproducer.service.credentials.static import StaticCredentials

__all__ = [
    "AwsCredentials",
    "CredentialsProvider",
    "CredentialsSource",
    "FileCredentials",
    "IotCredentials",
    "StaticCredentials",
]
