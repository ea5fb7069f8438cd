"""AWS credentials and where they come from.

`credentials` has the value class `AwsCredentials`. `provider` defines what a credentials provider
is; `static`, `file`, `iot`, `session` (botocore) and `own` (a user's function) are the kinds of
provider. `refresh` caches a provider's credentials until they are about to expire. `source` creates
a provider from `Producer(credentials=)`.
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
