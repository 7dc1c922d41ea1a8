#!/usr/bin/python3
"""A worker in another language, by proto/README.md alone: the program `squares`.

It stands beside the modules that protoc made of proto/, and a file `stock` with the path of
bulkhead-worker, whose build id it takes for its own. Over the transport `unix` it joins the data
plane; over any other it leaves that out, and all is said over the control socket.
"""
import hashlib
import json
import mmap
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time

import zmq

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from bulkhead.v1 import common_pb2, control_pb2  # noqa: E402

LIFELINE, CRASH_PAGE = 3, 4
FIRED_AT, SLOT_AT = 16, 960
NO_JOB = 2**64 - 1
PROTOCOL = 1
GOODBYE = 0xFFFFFFFF
JOIN, JOB, RESULT, PROTOBUF = 1, 2, 3, 4


def build_id():
    stock = (HERE / "stock").read_text().strip()
    said = subprocess.run([stock, "--describe"], check=True, capture_output=True).stdout
    return json.loads(said)["build_id"]


def digest():
    return hashlib.sha256(b"squares, in Python").hexdigest()[:16]


def describe():
    print(json.dumps({
        "protocol": PROTOCOL, "build_id": build_id(),
        "programs": [{
            "name": "squares", "summary": "the sum of squares", "digest": digest(),
            "takes_input": False, "wants_calibration": False,
            "parameters": [{"name": "count", "type": "PARAMETER_INTEGER", "default_value": "100",
                            "help": "how many", "minimum": 1, "maximum": 1000000}]}]}))


def read_boot():
    def exactly(count):
        data = b""
        while len(data) < count:
            more = os.read(LIFELINE, count - len(data))
            if not more:
                sys.exit(75)
            data += more
        return data
    return control_pb2.Boot.FromString(exactly(struct.unpack("<I", exactly(4))[0]))


class CrashPage:
    """What survives us: which job runs, how many have begun and ended, which faults have fired."""

    def __init__(self):
        self.page = mmap.mmap(CRASH_PAGE, os.fstat(CRASH_PAGE).st_size)
        self.started = self.finished = 0
        self.page[4:8] = struct.pack("=I", 1)
        self.slot(NO_JOB)

    def slot(self, job):
        self.page[SLOT_AT:SLOT_AT + 24] = struct.pack("=QQQ", job, self.started, self.finished)

    def fire(self, fault):
        at = FIRED_AT + 4 * fault.index
        count = struct.unpack("=I", self.page[at:at + 4])[0]
        self.page[at:at + 4] = struct.pack("=I", count + 1)


class ControlPlane:
    def __init__(self, boot):
        self.socket = zmq.Context().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.IDENTITY, identity(boot))
        self.socket.setsockopt(zmq.LINGER, 0)
        # A path of any length fits through a descriptor of the directory.
        directory = os.open(boot.run_directory, os.O_PATH | os.O_DIRECTORY)
        self.socket.connect(f"ipc:///proc/self/fd/{directory}/{boot.socket_name}")

    def send(self, message):
        self.socket.send(message.SerializeToString())

    def receive(self):
        """Those that are there."""
        while self.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            yield control_pb2.ToWorker.FromString(self.socket.recv())


class DataPlane:
    """The transport `unix`: frames on a stream socket."""

    def __init__(self, boot):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = os.open(boot.run_directory, os.O_PATH | os.O_DIRECTORY)
        self.socket.connect(f"/proc/self/fd/{directory}/{boot.data_name}")
        os.close(directory)
        hello = struct.pack("<8sBBB1xI64s16x", b"bulkhead", 1, 1, len(boot.data_token), 256 << 10,
                            boot.data_token)
        assert len(hello) == 96
        self.socket.sendall(hello)
        self.bytes = b""
        self.frame(bytes([JOIN]) + identity(boot) + boot.token)

    def frame(self, payload):
        self.socket.sendall(struct.pack("<I", len(payload)) + payload)

    def send(self, message):
        if message.HasField("results"):
            for result in message.results.results:
                threw = result.HasField("error")
                self.frame(struct.pack("<BBIQd", RESULT, threw, message.results.request,
                                       result.index, result.service_seconds)
                           + (result.error if threw else result.result))
        else:
            self.frame(bytes([PROTOBUF]) + message.SerializeToString())

    def receive(self):
        """What has come since; called when the socket is readable."""
        more = self.socket.recv(1 << 16)
        if not more:
            sys.exit(75)
        self.bytes += more
        while len(self.bytes) >= 4:
            size = struct.unpack("<I", self.bytes[:4])[0]
            if len(self.bytes) < 4 + size:
                return
            payload, self.bytes = self.bytes[4:4 + size], self.bytes[4 + size:]
            if payload[0] == JOB:
                message = control_pb2.ToWorker()
                message.jobs.jobs.add(index=struct.unpack("<Q", payload[1:9])[0],
                                      input=payload[9:])
                yield message
            else:
                yield control_pb2.ToWorker.FromString(payload[1:])

    def close(self):
        self.socket.sendall(struct.pack("<I", GOODBYE))


def identity(boot):
    return b"B" + boot.run_id + struct.pack("<II", boot.worker, boot.incarnation)


class Worker:
    def __init__(self):
        self.boot = read_boot()
        self.page = CrashPage()
        self.control = ControlPlane(self.boot)
        self.data = DataPlane(self.boot) if self.boot.transport == "unix" else None
        self.plane = self.data or self.control
        self.count = int({s.name: s.value for s in self.boot.settings}["count"])
        self.jobs = []
        self.next_input = self.input_credit = None  # while the source runs
        self.sum = None                             # while reduce runs
        self.draining = False

    def hello(self):
        hello = control_pb2.ToCoordinator()
        hello.hello.protocol = PROTOCOL
        hello.hello.build_id = build_id()
        hello.hello.program_digest = digest()
        hello.hello.worker = self.boot.worker
        hello.hello.incarnation = self.boot.incarnation
        hello.hello.token = self.boot.token
        hello.hello.pid = os.getpid()
        hello.hello.data_plane = self.data is not None
        self.control.send(hello)

    def say(self, **body):
        self.plane.send(control_pb2.ToCoordinator(**body))

    def take(self, message):
        kind = message.WhichOneof("body")
        if kind == "welcome":
            self.say(request=control_pb2.JobRequest(jobs=self.boot.in_flight))
        elif kind == "reject":
            print("refused:", message.reject.text, file=sys.stderr)
            sys.exit(64)
        elif kind == "jobs":
            self.jobs += message.jobs.jobs
        elif kind == "open_source":
            self.next_input = getattr(message.open_source, "from")
            self.input_credit = message.open_source.credit
        elif kind == "source_credit" and self.next_input is not None:
            self.input_credit += message.source_credit.inputs
        elif kind == "open_reduce":
            self.sum = 0
            self.say(reduce_credit=control_pb2.ReduceCredit(batches=4))
        elif kind == "reduce_results":
            self.reduce(message.reduce_results)
        elif kind == "drain":
            self.draining = True

    def source(self):
        inputs = range(self.next_input,
                       min(self.count, self.next_input + min(self.input_credit, 1000)))
        batch = control_pb2.InputBatch(first=self.next_input,
                                       inputs=[struct.pack("<Q", i) for i in inputs])
        self.next_input += len(inputs)
        self.input_credit -= len(inputs)
        batch.end = self.next_input >= self.count
        if batch.end or inputs:
            self.say(inputs=batch)
        if batch.end:
            self.next_input = None

    def work(self, job):
        self.page.started += 1
        self.page.slot(job.index)
        begin = time.monotonic()
        if job.HasField("fault"):
            self.page.fire(job.fault)
            if job.fault.kind == common_pb2.FAULT_KILL:
                os.kill(os.getpid(), signal.SIGKILL)
        result = control_pb2.JobResult(index=job.index)
        if job.HasField("fault") and job.fault.kind == common_pb2.FAULT_THROW:
            result.error = b"injected fault: throw"
        else:
            result.result = struct.pack("<Q", struct.unpack("<Q", job.input)[0] ** 2)
        result.service_seconds = time.monotonic() - begin
        self.page.finished += 1
        self.page.slot(NO_JOB)
        self.say(results=control_pb2.ResultBatch(results=[result], request=1))

    def reduce(self, batch):
        for entry in batch.results:
            if entry.HasField("result"):
                self.sum += struct.unpack("<Q", entry.result)[0]
        if batch.end:
            self.say(answer=control_pb2.Answer(checksum=str(self.sum), jobs=self.count,
                                               text=f"sum {self.sum}".encode()))
        else:
            self.say(reduce_credit=control_pb2.ReduceCredit(batches=1))

    def busy(self):
        return not self.draining and (self.jobs or (self.next_input is not None
                                                    and self.input_credit > 0))

    def run(self):
        self.hello()
        poller = zmq.Poller()
        for source in (self.control.socket, LIFELINE) + ((self.data.socket,) if self.data else ()):
            poller.register(source, zmq.POLLIN)
        said_goodbye = False
        while True:
            ready = dict(poller.poll(0 if self.busy() else None))
            if LIFELINE in ready:
                sys.exit(0 if said_goodbye else 75)
            for message in self.control.receive():
                self.take(message)
            if self.data and self.data.socket.fileno() in ready:
                for message in self.data.receive():
                    self.take(message)
            if self.draining and not said_goodbye:
                if self.data:
                    poller.unregister(self.data.socket)
                    self.data.close()
                    self.data = None
                self.control.send(control_pb2.ToCoordinator(goodbye=control_pb2.Goodbye()))
                said_goodbye = True
            if self.busy():
                if self.next_input is not None and self.input_credit > 0:
                    self.source()
                if self.jobs:
                    self.work(self.jobs.pop(0))


def main():
    if sys.argv[1:] == ["--describe"]:
        describe()
    elif sys.argv[1:]:
        sys.exit(2)
    else:
        Worker().run()


main()
