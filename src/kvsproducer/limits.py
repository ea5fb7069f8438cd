"""All limits and defaults, with their units and sources.

The comments name the source. "client", "mkv", "view", "heap", "state" and "utils" are parts of
AWS's platform-independent client (PIC) 1.2.0. "producer" is AWS's C producer 1.6.4. "service" is
the KVS documentation. "ours" is a limit that AWS does not have. "S:" names the status that is
raised when the limit is exceeded.

Durations are in ticks of 100 ns, unless the name ends in another unit. Lengths are in characters,
unless the name ends in BYTES. A value equal to the limit is allowed, unless the comment says
"below".
"""

from __future__ import annotations

from typing import Final

from kvsproducer.duration import (
    INVALID_DURATION_VALUE,
    TICKS_PER_DAY,
    TICKS_PER_HOUR,
    TICKS_PER_MINUTE,
    TICKS_PER_MS,
    TICKS_PER_SECOND,
)

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# === structures: the highest version that from_dict accepts (client) ===========================
DEVICE_INFO_VERSION: Final = 1  # S: INVALID_DEVICE_INFO_VERSION
STORAGE_INFO_VERSION: Final = 0  # S: INVALID_STORAGE_INFO_VERSION
CLIENT_INFO_VERSION: Final = 3  # S: INVALID_CLIENT_INFO_VERSION
STREAM_INFO_VERSION: Final = 3  # S: INVALID_STREAM_INFO_VERSION
TAG_VERSION: Final = 0  # S: INVALID_TAG_VERSION
STREAM_DESCRIPTION_VERSION: Final = 1  # S: INVALID_STREAM_DESCRIPTION_VERSION
FRAGMENT_ACK_VERSION: Final = 0  # S: INVALID_FRAGMENT_ACK_VERSION
STREAM_METRICS_VERSION: Final = 3  # S: INVALID_STREAM_METRICS_VERSION
CLIENT_METRICS_VERSION: Final = 2  # S: INVALID_CLIENT_METRICS_VERSION
TRACK_INFO_VERSION: Final = 0  # not checked by AWS's client
STREAM_EVENT_METADATA_VERSION: Final = 0
CALLBACKS_VERSION: Final = 0  # S: INVALID_CALLBACKS_VERSION

# === client/: device, storage and client info ==================================================
MIN_STREAM_COUNT: Final = 1  # client; S: MIN_STREAM_COUNT
MAX_STREAM_COUNT: Final = 1_000_000  # client (its documentation says 128); S: MAX_STREAM_COUNT
DEFAULT_STREAM_COUNT: Final = 100  # producer
MAX_DEVICE_NAME_LEN: Final = 128  # client; S: INVALID_DEVICE_NAME_LENGTH
DEFAULT_DEVICE_NAME_LEN: Final = 16  # client; of a generated name, alphabet below
DEFAULT_STREAM_NAME_LEN: Final = 16  # client; of a generated name, alphabet below
GENERATED_NAME_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # client
MAX_CLIENT_ID_LEN: Final = 64  # client; S: INVALID_CLIENT_ID_STRING_LENGTH
MIN_STORAGE_SIZE_BYTES: Final = 1 * MIB  # client (documentation: 10 MiB); S: INVALID_STORAGE_SIZE
MAX_STORAGE_SIZE_BYTES: Final = 10 * GIB  # client; S: INVALID_STORAGE_SIZE
DEFAULT_STORAGE_SIZE_BYTES: Final = 128 * MIB  # producer
MIN_SPILL_RATIO_PERCENT: Final = 0  # client; share of hybrid storage held in memory
MAX_SPILL_RATIO_PERCENT: Final = 100  # client; S: INVALID_SPILL_RATIO
MAX_PATH_LEN: Final = 4096  # client; S: INVALID_ROOT_DIRECTORY_LENGTH, INVALID_CERT_PATH_LENGTH,
#                             PATH_TOO_LONG

# === client/: stream info ======================================================================
MAX_STREAM_NAME_LEN: Final = 256  # client; S: INVALID_STREAM_NAME_LENGTH
MAX_TAG_COUNT: Final = 50  # client; of a device and of a stream; S: MAX_TAG_COUNT
MAX_TAG_NAME_LEN: Final = 128  # client; S: INVALID_TAG_NAME_LEN
MAX_TAG_VALUE_LEN: Final = 1024  # client (the service: 256); S: INVALID_TAG_VALUE_LEN
MIN_RETENTION_PERIOD: Final = TICKS_PER_HOUR  # client; unless 0; S: INVALID_RETENTION_PERIOD
MIN_TRACK_COUNT: Final = 1  # client; S: TRACK_INFO_MISSING
MAX_TRACK_COUNT: Final = 3  # client, service; S: MAX_TRACK_COUNT_EXCEEDED
MIN_TRACK_ID: Final = 1  # client; S: MKV_INVALID_TRACK_UID
DEFAULT_FRAME_RATE: Final = 24  # client; frames/s, when the stream info has 0
DEFAULT_BUFFER_DURATION: Final = 20 * TICKS_PER_SECOND  # client; when the stream info has 0
MAX_TRACK_QUEUE_FRAMES: Final = 2000  # ours (client: 60); of a track, waiting for another one; S:
#                                       MAX_FRAME_TIMESTAMP_DELTA_BETWEEN_TRACKS_EXCEEDED

# Defaults of StreamInfo; two are from the samples of the C producer, the others from itself.
STREAM_INFO_BUFFER_DURATION: Final = 120 * TICKS_PER_SECOND  # samples
STREAM_INFO_REPLAY_FACTOR: Final = 0.5  # replay_duration / buffer_duration
STREAM_INFO_LATENCY_FACTOR: Final = 0.85  # max_latency / buffer_duration
STREAM_INFO_RETENTION: Final = 24 * TICKS_PER_HOUR  # ours (samples: 2 hours)
STREAM_INFO_STALENESS_DURATION: Final = 5 * TICKS_PER_SECOND
STREAM_INFO_FRAGMENT_DURATION: Final = 2 * TICKS_PER_SECOND
STREAM_INFO_TIMECODE_SCALE: Final = TICKS_PER_MS
STREAM_INFO_FRAME_RATE: Final = 120  # frames/s: it sizes the view
VIDEO_TRACK_ID: Final = 1
AUDIO_TRACK_ID: Final = 2
AUDIO_ONLY_TRACK_ID: Final = 1
STORAGE_DEFRAGMENTATION_FACTOR: Final = 1.2  # storage size / (bit rate x duration)
BUFFER_DEFRAGMENTATION_FACTOR: Final = 0.85  # buffer duration / (storage size / bit rate)

# === client/: responses of the service =========================================================
MAX_ARN_LEN: Final = 2048  # client (service: 1024); S: INVALID_..._RESPONSE
MAX_URI_LEN: Final = 10_000  # client; S: INVALID_URI_LEN
MAX_AUTH_LEN_BYTES: Final = 10_000  # client; token or certificate, below; S: INVALID_AUTH_LEN
MAX_ACK_BYTES: Final = 64 * KIB  # ours; size of one ack; S: INVALID_ACK_SEGMENT_LEN
MAX_FRAGMENT_NUMBER_LEN: Final = 128  # client (truncates), service

# === client/: metadata and events ==============================================================
MAX_EVENT_PAIRS: Final = 10  # client; S: INVALID_ARG
MAX_IMAGE_PREFIX_LEN: Final = 256  # client; S: INVALID_IMAGE_PREFIX_LENGTH

# === client/: tokens and credentials ===========================================================
MIN_TOKEN_LIFE: Final = 30 * TICKS_PER_SECOND  # client; remaining; S: INVALID_TOKEN_EXPIRATION
MAX_TOKEN_LIFE: Final = 40 * TICKS_PER_MINUTE  # client; a longer life is shortened to this
TOKEN_GRACE_PERIOD: Final = 3 * TICKS_PER_SECOND  # client; rotation starts this long before the end
TOKEN_JITTER_RATIO: Final = 0.1  # client; largest random reduction of the remaining life
TOKEN_JITTER_THRESHOLD: Final = 5 * TICKS_PER_MINUTE  # client; no jitter below this remaining life
MAX_TOKEN_JITTER: Final = 3 * TICKS_PER_MINUTE  # client

# === client/: service calls and their retries ==================================================
MAX_SERVICE_CALL_RETRIES: Final = 5  # client; so 6 calls; S: ..._CALL_FAILED
MAX_STATE_MACHINE_NAME_LEN: Final = 32  # state; S: STATE_MACHINE_NAME_LEN_INVALID
MAX_DEVICE_FINGERPRINT_LEN: Final = 32  # client; S: DEVICE_FINGERPRINT_LENGTH
DEFAULT_SERVICE_CALL_TIMEOUT: Final = 10 * TICKS_PER_SECOND  # client; when 0 or invalid
DEFAULT_CONNECTION_TIMEOUT: Final = 5 * TICKS_PER_SECOND  # client; both reset when above the other
INFINITE_TIMEOUT: Final = INVALID_DURATION_VALUE  # client; of PutMedia
BACKOFF_BASE: Final = 100 * TICKS_PER_MS  # state; wait = base * 2**n * (1 + random below 1)
MAX_BACKOFF: Final = 10 * TICKS_PER_SECOND  # state; of base * 2**n
OFFLINE_MAX_BACKOFF: Final = 2 * TICKS_PER_SECOND  # ours; the same, for an offline stream
BACKOFF_RESET_AFTER: Final = 90 * TICKS_PER_SECOND  # state; without a retry for this long, n = 0
LIBRARY_BACKOFF_BASE: Final = 1000 * TICKS_PER_MS  # utils; default of a separate retry strategy
LIBRARY_MAX_BACKOFF: Final = 16 * TICKS_PER_SECOND  # utils
# A custom strategy must lie within these (utils; S: INVALID_ARG).
MIN_CUSTOM_BACKOFF_BASE: Final = 50 * TICKS_PER_MS
MAX_CUSTOM_BACKOFF_BASE: Final = 1000 * TICKS_PER_MS
MIN_CUSTOM_MAX_BACKOFF: Final = 10 * TICKS_PER_SECOND
MAX_CUSTOM_MAX_BACKOFF: Final = 25 * TICKS_PER_SECOND
MIN_CUSTOM_BACKOFF_RESET: Final = 90 * TICKS_PER_SECOND
MAX_CUSTOM_BACKOFF_RESET: Final = 120 * TICKS_PER_SECOND
MIN_CUSTOM_BACKOFF_JITTER: Final = 50 * TICKS_PER_MS
MAX_CUSTOM_BACKOFF_JITTER: Final = 600 * TICKS_PER_MS
DEFAULT_CUSTOM_BACKOFF_JITTER: Final = 300 * TICKS_PER_MS

# === client/: waits (S: OPERATION_TIMED_OUT) ===================================================
STREAM_CLOSED_TIMEOUT: Final = 120 * TICKS_PER_SECOND  # client; default of ClientInfo
MAX_BLOCKING_PUT_WAIT: Final = 15 * TICKS_PER_SECOND  # client; offline, per wait for space

# === client/: buffer, pressure and metrics =====================================================
STORAGE_PRESSURE_PERCENT: Final = 5  # client; pressure at or below this part of free storage
BUFFER_PRESSURE_PERCENT: Final = 5  # client; the same, of the buffer's free duration
SPACE_RESERVE_BYTES: Final = 100  # client; reserve of the space check
SPACE_RESERVE_FRAME_FACTOR: Final = 1.8  # client; reserve: times the largest frame seen
FAR_TIMESTAMP: Final = TICKS_PER_SECOND // 2  # ours; a larger distance between frames is checked
TRACK_GRACE: Final = 5 * TICKS_PER_SECOND  # ours; of media; then a track without frames is left out
OFFLINE_TRACK_GRACE: Final = 20 * TICKS_PER_SECOND  # ours; the same for offline streams
TRACK_QUEUE_SHARE: Final = 4  # ours; frames that wait for other tracks may use 1/4 of storage
METRICS_EMA_ALPHA: Final = 0.05  # client; weight of the newest sample
EARLIEST_INSTANT: Final = 9_466_848_000_000_000  # ours; 2000-01-01; an earlier clock is not set
FUTURE_INSTANT: Final = 24 * TICKS_PER_HOUR  # ours; how far a timestamp may be ahead of the clock
TRANSFER_RATE_MIN_INTERVAL: Final = 200 * TICKS_PER_MS  # client; between two samples
IDLE_CHECK_START_DELAY: Final = 3 * TICKS_PER_SECOND  # client; intermittent producer: first check
IDLE_CHECK_PERIOD: Final = 5 * TICKS_PER_SECOND  # client; default of ClientInfo
MIN_TIMER_PERIOD: Final = TICKS_PER_MS  # utils; 0 is single shot; S: INVALID_TIMER_PERIOD_VALUE
MAX_IDLE_TIME: Final = 20 * TICKS_PER_SECOND  # client; then the open fragment is ended

# === mkv/ ======================================================================================
MAX_CONTENT_TYPE_LEN: Final = 128  # mkv; S: MKV_INVALID_CONTENT_TYPE_LENGTH
MAX_CODEC_ID_LEN: Final = 32  # mkv; S: MKV_INVALID_CODEC_ID_LENGTH
MAX_TRACK_NAME_LEN: Final = 32  # mkv; S: MKV_INVALID_TRACK_NAME_LENGTH
MAX_CODEC_PRIVATE_BYTES: Final = 1 * MIB  # mkv; S: MKV_INVALID_CODEC_PRIVATE_LENGTH
MAX_UNITS: Final = 100_000  # ours; NAL units in a frame; real frames have a few hundred
MAX_UNITS_LOOKED_AT: Final = 2048  # ours; NAL units that are examined to recognize a frame
MIN_MKV_TAG_NAME_LEN: Final = 1  # mkv
MAX_MKV_TAG_NAME_LEN: Final = 128  # mkv; S: MKV_INVALID_TAG_NAME_LENGTH
MAX_MKV_TAG_VALUE_LEN: Final = 256  # mkv; may be empty; S: MKV_INVALID_TAG_VALUE_LENGTH
MIN_CLUSTER_DURATION: Final = 1 * TICKS_PER_SECOND  # mkv; when fragments are cut by time
MAX_CLUSTER_DURATION: Final = 30 * TICKS_PER_SECOND  # mkv; S: MKV_INVALID_CLUSTER_DURATION
MIN_TIMECODE_SCALE: Final = 1  # mkv
MAX_TIMECODE_SCALE: Final = 1 * TICKS_PER_SECOND  # mkv; S: MKV_INVALID_TIMECODE_SCALE
DEFAULT_TIMECODE_SCALE: Final = TICKS_PER_MS  # mkv; when 0
MAX_TIMESTAMP: Final = (2**63 - 1) // 100  # mkv; pts, dts, duration; S: MKV_MAX_FRAME_TIMECODE
MIN_RELATIVE_TIMECODE: Final = -(2**15)  # Matroska; in timecode units
MAX_RELATIVE_TIMECODE: Final = 2**15 - 1  # Matroska; S: MKV_LARGE_FRAME_TIMECODE
MAX_EBML_NUMBER: Final = 2**56 - 2  # Matroska, 8-byte size; S: MKV_NUMBER_TOO_BIG
SEGMENT_UUID_BYTES: Final = 16  # mkv; not all zero; S: MKV_INVALID_SEGMENT_UUID
MAX_MKV_CLIENT_ID_LEN: Final = 64  # mkv; S: MKV_INVALID_CLIENT_ID_LENGTH
# Parser: the largest elements that it buffers; ours; S: ACK_ERR_INVALID_MKV_DATA
MAX_EBML_HEADER_BYTES: Final = 4 * KIB  # ours
MAX_INFO_BYTES: Final = 64 * KIB  # ours
MAX_TRACKS_BYTES: Final = 4 * MIB  # ours: three tracks with the longest codec private data
MAX_TAGS_BYTES: Final = 1 * MIB  # ours
MAX_TAG_DEPTH: Final = 8  # SimpleTags in SimpleTags
MAX_CLUSTER_LEAD_BYTES: Final = 64 * KIB  # the part of a cluster before its Timestamp
MAX_MASTER_ELEMENTS: Final = 16 * KIB  # ours; elements, at all depths, in a whole master element
SKIP_PIECE_BYTES: Final = 64 * KIB  # longer elements are skipped in pieces of this size

# === codecs/ ===================================================================================
MIN_H264_ANNEXB_CPD_BYTES: Final = 11  # mkv; S: MKV_MIN_ANNEX_B_CPD_SIZE
MIN_H265_ANNEXB_CPD_BYTES: Final = 15  # mkv; S: MKV_MIN_ANNEX_B_CPD_SIZE
MIN_H264_H265_CPD_BYTES: Final = 8  # mkv; S: MKV_INVALID_H264_H265_CPD
BITMAP_INFO_HEADER_BYTES: Final = 40  # mkv; S: MKV_INVALID_BIH_CPD
AAC_CPD_BYTES: Final = 2  # mkv; at least; S: MKV_INVALID_AAC_CPD
PCM_CPD_BYTES: Final = 18  # mkv; as generated
MIN_PCM_CPD_BYTES: Final = 16  # mkv; S: MKV_INVALID_AMS_ACM_CPD
MIN_PCM_SAMPLE_RATE_HZ: Final = 8_000  # mkv; S: INVALID_ARG
MAX_PCM_SAMPLE_RATE_HZ: Final = 192_000  # mkv
MAX_PCM_CHANNELS: Final = 2  # mkv
MAX_BIT_READER_BITS: Final = 32  # utils; in one read; S: BIT_READER_INVALID_SIZE

# === heap/ and view.py =========================================================================
MIN_HEAP_SIZE_BYTES: Final = 1 * MIB  # heap; also the memory part of hybrid storage; S: INVALID_ARG
MAX_HEAP_SIZE_BYTES: Final = 1024 * GIB  # heap; S: INVALID_ARG
MAX_FILE_HEAP_ROOT_LEN: Final = 4080  # heap; leaves room for the file name; S: INVALID_ARG_LEN
FILE_HEAP_FIRST_INDEX: Final = 1  # heap; of "<n>.hfh"
MAX_ALLOCATION_BYTES: Final = 2**60 - 1  # heap; below; S: INVALID_ALLOCATION_SIZE
MIN_FREE_ALLOCATION_BYTES: Final = 16  # heap; smaller free space stays part of the block before it
MAX_BLOCK_HEADER_BYTES: Final = 13  # mkv; SimpleBlock id, 8-byte size, track, time, flags
ITEM_OVERHEAD_BYTES: Final = 300  # ours, measured: bookkeeping of one frame in the view ...
BUFFER_OVERHEAD_BYTES: Final = 200  # ours, measured: ... and of each buffer of its payload
MAX_PAYLOAD_BUFFERS: Final = 64  # ours; a payload in more buffers is copied into one
HELD_ITEM_OVERHEAD_BYTES: Final = 2500  # ours; as ITEM_OVERHEAD_BYTES, for stores that allocate
# their memory at the start. Python needs 700 bytes more per frame; this value keeps them at no more
# than about a quarter of the store.
MAX_QUEUED_EVENTS: Final = 1000  # ours; per stream; drops are merged beyond it
MIN_VIEW_ITEMS: Final = 10  # view; the capacity must be larger; S: MIN_CONTENT_VIEW_ITEMS
MIN_VIEW_DURATION: Final = 0  # view; the duration must be longer; S: INVALID_CONTENT_VIEW_DURATION

# === producer/ =================================================================================
MAX_CALLBACK_CHAIN_LEN: Final = 20  # producer; below; S: INVALID_ARG
DEFAULT_CALLBACK_CHAIN_LEN: Final = 5  # producer; per kind; S: MAX_CALLBACK_CHAIN
DEFAULT_ENDPOINT_CACHE_PERIOD: Final = 40 * TICKS_PER_MINUTE  # producer; when 0
MAX_ENDPOINT_CACHE_PERIOD: Final = 24 * TICKS_PER_HOUR  # S: INVALID_ENDPOINT_CACHING_PERIOD
MAX_CUSTOM_USER_AGENT_LEN: Final = 128  # producer; S: MAX_CUSTOM_USER_AGENT_LEN_EXCEEDED
MAX_USER_AGENT_POSTFIX_LEN: Final = 32  # producer; S: MAX_USER_AGENT_NAME_POSTFIX_LEN_EXCEEDED
MAX_USER_AGENT_LEN: Final = 256  # producer; S: INVALID_USER_AGENT_LENGTH
MAX_APP_ID_LEN: Final = 50  # AWS SDKs and Tools Reference Guide, "Application ID"
MAX_ROLE_ALIAS_LEN: Final = 128  # producer; S: MAX_ROLE_ALIAS_LEN_EXCEEDED
MAX_IOT_THING_NAME_LEN: Final = 128  # producer; S: MAX_IOT_THING_NAME_LENGTH
MAX_ACCESS_KEY_LEN: Final = 128  # producer; IoT reply and credentials file
MAX_SECRET_KEY_LEN: Final = 128  # producer
MAX_SESSION_TOKEN_LEN: Final = 2048  # producer
MAX_EXPIRATION_LEN: Final = 128  # producer
MAX_CREDENTIAL_FILE_BYTES: Final = 10_000  # producer; below;
#                                            S: FILE_CREDENTIAL_PROVIDER_INVALID_FILE_LENGTH
CREDENTIAL_REFRESH_GRACE: Final = 38 * TICKS_PER_SECOND  # producer; refresh below this life
MIN_IOT_JITTER_PERCENT: Final = 1  # producer; random reduction of the life of IoT credentials
MAX_IOT_JITTER_PERCENT: Final = 20  # producer
IOT_CONNECTION_TIMEOUT: Final = 3 * TICKS_PER_SECOND  # producer; S: CURL_PERFORM_FAILED
IOT_COMPLETION_TIMEOUT: Final = 5 * TICKS_PER_SECOND  # producer
MAX_IOT_ANSWER_BYTES: Final = 10_000  # ours; S: INVALID_API_CALL_RETURN_JSON
OWN_CREDENTIALS_TIMEOUT: Final = 30 * TICKS_PER_SECOND  # ours; S: OPERATION_TIMED_OUT
REFUSED_CREDENTIALS_PAUSE: Final = 10 * TICKS_PER_SECOND  # ours; between renewals after a refusal
CREDENTIALS_TURN_TIMEOUT: Final = TICKS_PER_MINUTE  # ours; wait while another call asks a provider
MAX_REQUEST_HEADER_COUNT: Final = 200  # producer; S: MAX_REQUEST_HEADER_COUNT
MAX_REQUEST_HEADER_NAME_LEN: Final = 128  # producer; below; S: MAX_REQUEST_HEADER_NAME_LEN
MAX_REQUEST_HEADER_VALUE_LEN: Final = 2048  # producer; below; S: MAX_REQUEST_HEADER_VALUE_LEN
MAX_UPDATE_VERSION_LEN: Final = 64  # client; in DescribeStream; S: INVALID_API_CALL_RETURN_JSON
MAX_ANSWER_BYTES: Final = 4 * MIB  # ours; of the control plane; S: INVALID_API_CALL_RETURN_JSON
MAX_STATUS_TEXT_LEN: Final = 32  # producer; in DescribeStream; S: INVALID_API_CALL_RETURN_JSON
CLOCK_SKEW_NOTICED: Final = TICKS_PER_MINUTE  # ours; a smaller clock difference is not corrected
SERVICE_TIMES: Final = (15_067_296_000_000_000, 41_024_448_000_000_000)  # ours; 2017-09-30, 2100
LOW_SPEED_LIMIT_BYTES_PER_S: Final = 30  # producer; a slower upload is aborted (result 599) ...
LOW_SPEED_TIME: Final = 30 * TICKS_PER_SECOND  # producer; ... after this time
STALE_GRACE_PERIOD: Final = 30 * TICKS_PER_SECOND  # producer; no stale check so long after a reset
LATENCY_VERIFICATION_PERIOD: Final = 60 * TICKS_PER_SECOND  # producer; back to normal after
DEFAULT_REGION: Final = "us-west-2"  # producer

# === utils.py, trace.py ========================================================================
MIN_CONVERSION_BASE: Final = 2  # utils; S: INVALID_BASE
MAX_CONVERSION_BASE: Final = 36  # utils; S: INVALID_BASE
MAX_TRACE_NAME_LEN: Final = 32  # utils; a longer name is cut
MIN_TRACE_RECORDS: Final = 100  # utils; S: MIN_PROFILER_BUFFER
MIN_LOG_FILE_BYTES: Final = 10 * KIB  # utils; a file of the rolling log; S: INVALID_ARG
MAX_LOG_FILE_BYTES: Final = 100 * MIB  # utils
DEFAULT_LOG_FILE_BYTES: Final = 100 * KIB  # utils
MAX_LOG_FILES: Final = 10_240  # utils; kept of the rolling log, 1 at least; S: INVALID_ARG
DEFAULT_LOG_FILES: Final = 3  # utils
MAX_LOG_INDEX_BYTES: Final = 256  # utils; below; S: FILE_LOGGER_INDEX_FILE_TOO_LARGE
MAX_TIMESTAMP_FORMAT_LEN: Final = 26  # utils; S: MAX_TIMESTAMP_FORMAT_STR_LEN_EXCEEDED

# === the service's own limits (KVS documentation), which endpoint/ enforces ====================
SERVICE_MAX_FRAGMENT_BYTES: Final = 50 * 1000 * 1000  # ack 4001; "50 MB" read as decimal
SERVICE_MAX_FRAGMENT_DURATION: Final = 20 * TICKS_PER_SECOND  # ack 4002; older pages say 10 s
SERVICE_MAX_CONNECTION_DURATION: Final = 45 * TICKS_PER_MINUTE  # ack 4003
SERVICE_MAX_TRACKS: Final = 3  # ack 4005 (4012 in older documentation)
SERVICE_MAX_FRAGMENT_METADATA: Final = 10  # items of a fragment, control tags too; ack 4009
SERVICE_MAX_METADATA_NAME_BYTES: Final = 128  # ack 4009
SERVICE_MAX_METADATA_VALUE_BYTES: Final = 256  # ack 4009
SERVICE_MAX_FUTURE: Final = TICKS_PER_DAY  # ack 4007; the service's actual tolerance is not known
SERVICE_IDLE_TIMEOUT: Final = 30 * TICKS_PER_SECOND  # a request without data ends after this time
SERVICE_MAX_FRAGMENTS_PER_S: Final = 5  # of a stream
MIN_FRAGMENT_INTERVAL: Final = TICKS_PER_SECOND // SERVICE_MAX_FRAGMENTS_PER_S  # ours; see client
SERVICE_MAX_PUT_MEDIA_PER_S: Final = 5  # calls per stream
SERVICE_MAX_BANDWIDTH_BYTES_PER_S: Final = 12_500_000  # of a stream
SERVICE_GET_MEDIA_IDLE: Final = 3 * TICKS_PER_SECOND  # GetMedia ends when no fragment exists
SERVICE_MAX_GET_MEDIA_PER_STREAM: Final = 3  # at once
SERVICE_CLOCK_SKEW: Final = 5 * TICKS_PER_MINUTE  # SigV4: allowed age of a signature
SERVICE_MAX_RETENTION_HOURS: Final = 87_600  # UpdateDataRetention
SERVICE_MAX_STREAM_NAME_LEN: Final = 256  # of [a-zA-Z0-9_.-]
SERVICE_MAX_DEVICE_NAME_LEN: Final = 128  # of [a-zA-Z0-9_.-]
SERVICE_MAX_MEDIA_TYPE_LEN: Final = 128
SERVICE_MAX_KMS_KEY_ID_LEN: Final = 2048
SERVICE_MAX_ARN_LEN: Final = 1024
SERVICE_MAX_TAGS: Final = 50  # of a stream
SERVICE_MAX_TAG_NAME_LEN: Final = 128
SERVICE_MAX_TAG_VALUE_LEN: Final = 256
SERVICE_MAX_LIST_STREAMS: Final = 10_000  # results of a page
SERVICE_MAX_LIST_FRAGMENTS: Final = 1000  # results of a page
SERVICE_MAX_NEXT_TOKEN_LEN: Final = 4096

# --- producer/: uploads ------------------------------------------------------------------------
ACK_SLICE_BYTES: Final = 1024  # ours; part of a response processed under one lock: 8 acks, < 1 ms
MAX_USELESS_ACK_BYTES: Final = 64 * 1024  # ours; in a response, since the last ack with an effect
ANSWER_RECEIVE_BUFFER_BYTES: Final = 16 * 1024  # ours; socket buffer for small responses
MIN_UPLOAD_LIFE: Final = 10 * TICKS_PER_SECOND  # ours; a shorter upload must have stored media
PUT_MEDIA_CHUNK_BYTES: Final = 256 * 1024  # ours; largest single write of a busy upload
OFFLINE_GATHER_S: Final = 0.005  # ours; an offline stream collects frames this long for one write
PUT_MEDIA_ACK_WAIT_S: Final = 10  # ours; from the end of a request's body to its response's end
