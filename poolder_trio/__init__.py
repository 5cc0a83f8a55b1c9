"""Work that is pooled, bounded and timed, on Trio: every component is a nursery."""

from poolder_trio._version import __version__
from poolder_trio.abc import Codec, Dispatch, Executor, Instrument, StateBackend, Trigger
from poolder_trio.application import Application, ApplicationReport
from poolder_trio.async_pool import AsyncPool
from poolder_trio.backends.codec import JSONCodec
from poolder_trio.backends.memory import MemoryState
from poolder_trio.backends.redis import RedisState
from poolder_trio.backends.sqlite import SQLiteState
from poolder_trio.batcher import Batcher
from poolder_trio.errors import (
    Closed,
    DuplicateName,
    JobAbandoned,
    JobCancelled,
    JobError,
    JobHalted,
    JobNotDone,
    JobTimeout,
    PoolderError,
    QueueFull,
    RestartLimitExceeded,
    TooManyRequests,
    WorkerCrashed,
)
from poolder_trio.executors.process import ProcessExecutor
from poolder_trio.executors.thread import ThreadExecutor
from poolder_trio.factory_pool import FactoryPool
from poolder_trio.gen_pool import GenPool, GenPoolWorker
from poolder_trio.job_pool import JobPool, Waiting
from poolder_trio.kernel.accounts import ScheduleStatistics, ShutdownReport, Statistics
from poolder_trio.kernel.delayed import Timer
from poolder_trio.kernel.gather import as_completed, await_many
from poolder_trio.kernel.inbox_child import Request
from poolder_trio.kernel.job import Job
from poolder_trio.kernel.marks import cron, every
from poolder_trio.kernel.registry import whereis
from poolder_trio.kernel.replies import reads_state
from poolder_trio.kernel.returns import Completion, Ref
from poolder_trio.kernel.workers import WorkerInfo
from poolder_trio.named import (
    async_perform,
    async_perform_many,
    perform,
    perform_after,
    perform_at,
    perform_many,
    perform_many_after,
    perform_many_at,
)
from poolder_trio.policies.broker import Broker
from poolder_trio.policies.codel import CoDel
from poolder_trio.policies.cron import Cron
from poolder_trio.policies.phash import phash
from poolder_trio.policies.queues import Queue
from poolder_trio.policies.rate import Rate
from poolder_trio.policies.restart import Restart
from poolder_trio.policies.retry import Retry
from poolder_trio.policies.triggers import At, Every
from poolder_trio.policies.window import Batch, BatchStream
from poolder_trio.pool import Pool, WorkerRef
from poolder_trio.running import run
from poolder_trio.scheduler import Scheduler
from poolder_trio.tasker import Tasker
from poolder_trio.verdicts import (
    HALT,
    RETRY,
    Backoff,
    Continue,
    Emit,
    ErrorVerdict,
    Exit,
    Reschedule,
    Stop,
    Update,
)
from poolder_trio.worker import Worker

__all__ = [
    "HALT",
    "RETRY",
    "Application",
    "ApplicationReport",
    "AsyncPool",
    "At",
    "Backoff",
    "Batch",
    "BatchStream",
    "Batcher",
    "Broker",
    "Closed",
    "CoDel",
    "Codec",
    "Completion",
    "Continue",
    "Cron",
    "Dispatch",
    "DuplicateName",
    "Emit",
    "ErrorVerdict",
    "Every",
    "Executor",
    "Exit",
    "FactoryPool",
    "GenPool",
    "GenPoolWorker",
    "Instrument",
    "JSONCodec",
    "Job",
    "JobAbandoned",
    "JobCancelled",
    "JobError",
    "JobHalted",
    "JobNotDone",
    "JobPool",
    "JobTimeout",
    "MemoryState",
    "Pool",
    "PoolderError",
    "ProcessExecutor",
    "Queue",
    "QueueFull",
    "Rate",
    "RedisState",
    "Ref",
    "Request",
    "Reschedule",
    "Restart",
    "RestartLimitExceeded",
    "Retry",
    "SQLiteState",
    "ScheduleStatistics",
    "Scheduler",
    "ShutdownReport",
    "StateBackend",
    "Statistics",
    "Stop",
    "Tasker",
    "ThreadExecutor",
    "Timer",
    "TooManyRequests",
    "Trigger",
    "Update",
    "Waiting",
    "Worker",
    "WorkerCrashed",
    "WorkerInfo",
    "WorkerRef",
    "__version__",
    "as_completed",
    "async_perform",
    "async_perform_many",
    "await_many",
    "cron",
    "every",
    "perform",
    "perform_after",
    "perform_at",
    "perform_many",
    "perform_many_after",
    "perform_many_at",
    "phash",
    "reads_state",
    "run",
    "whereis",
]
