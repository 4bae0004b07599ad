#!/usr/bin/env python3
"""A worker with nothing but the standard library: answers each job with the job itself. `ask` asks for a name first, `fail` fails,
and `wait PATH` waits for a file."""
import hashlib
import hmac
import json
import os
import queue
import secrets
import select
import selectors
import signal
import socket
import threading
import time

LINE = 64 * 1024
UNREAD = 64 * 1024


class Failed(Exception):
    """A request that is not done; the first argument is the code."""


def work(job, text, continues):
    """One step of a session: ("done" or "waiting", output), or Failed."""
    if continues or not isinstance(text, str):
        return "done", text
    if text == "ask":
        return "waiting", "name?"
    if text == "fail":
        raise Failed("failed", "as it was told to")
    if text.startswith("wait "):
        while not os.path.exists(text[5:]):
            if job["cancelled"].wait(0.005):
                raise Failed("failed", "stopped")
        return "done", "it is there"
    return "done", text


class Commission:
    """Who this worker is, and how it shows that. Without one it serves, and cannot be verified."""

    def __init__(self):
        with os.fdopen(int(os.environ["SUPERVISE_WORKER_SECRET_FD"]), "rb") as file:
            told = json.loads(file.read(8192))
        if told["v"] != 1:
            raise SystemExit("a commission of another version")
        self.told, self.secret = told, bytes.fromhex(told["secret"])
        self.pidfs = 0
        try:
            fd = os.pidfd_open(os.getpid())
            # Since Linux 6.9 the number is the process's own; before, everything that is no file has the same.
            with select.epoll() as other:
                if os.fstat(fd).st_dev != os.fstat(other.fileno()).st_dev:
                    self.pidfs = os.fstat(fd).st_ino
            os.close(fd)
        except (AttributeError, OSError):
            pass

    def code(self, label, client, worker):
        text = label + b"\0" + client + worker
        for part in (self.told["instance"], self.told["boot_id"], self.told["endpoint"]):
            text += len(part.encode()).to_bytes(8, "little") + part.encode()
        text += self.pidfs.to_bytes(8, "little")
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()

    def proof(self, client, worker):
        return {"proof": {
            "v": 1, "nonce": worker.hex(), "service": self.told["service"], "version": self.told["version"],
            "instance": self.told["instance"], "pidfs": self.pidfs,
            "mac": self.code(b"supervise worker 1", client, worker)}}


class Caller:
    """One connection."""

    def __init__(self, stream):
        self.stream, self.received, self.unsent = stream, b"", b""
        self.greeted, self.over, self.expected, self.fresh = False, False, None, True
        self.until = time.monotonic() + 10  # to its handshake

    def answer(self, number, data=None, code=None, message="", **more):
        if code is None:
            self.say({"id": number, "ok": True, "data": data})
        else:
            self.say({"id": number, "ok": False, "error": {"code": code, "message": message, **more}})

    def say(self, message):
        text = json.dumps(message).encode()
        if len(text) > LINE:
            return self.answer(message.get("id"), code="too_large", message="the answer is too long")
        self.unsent += text + b"\n"


class Worker:
    def __init__(self, endpoint):
        self.endpoint, self.path = endpoint, endpoint.getsockname()
        self.file = os.stat(self.path)
        self.commission = Commission() if "SUPERVISE_WORKER_SECRET_FD" in os.environ else None
        self.idle_timeout = int(os.environ.get("SUPERVISE_WORKER_IDLE_MS", "1800000")) / 1000
        self.jobs, self.results = queue.Queue(), queue.Queue()
        self.callers, self.running, self.sessions = set(), None, {}
        self.count, self.idle_since, self.ending = 0, time.monotonic(), None
        self.bell, self.ring = socket.socketpair()
        self.bell.setblocking(False)
        self.ring.setblocking(False)

    def serve(self):
        signal.set_wakeup_fd(self.ring.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: self.end())
        threading.Thread(target=self.work, daemon=True).start()
        self.endpoint.setblocking(False)
        self.endpoint.listen(128)
        while not self.is_done():
            self.look_at_the_clock()
            with selectors.DefaultSelector() as waiting:
                waiting.register(self.bell, selectors.EVENT_READ)
                if self.ending is None:
                    waiting.register(self.endpoint, selectors.EVENT_READ)
                for caller in self.callers:
                    events = selectors.EVENT_WRITE if caller.unsent else 0
                    if not caller.over and len(caller.unsent) < UNREAD:
                        events |= selectors.EVENT_READ
                    if events:
                        waiting.register(caller.stream, events, caller)
                for key, _ in waiting.select(0.05 if self.ending else self.patience()):
                    if key.fileobj is self.bell:
                        self.bell.recv(4096)
                    elif key.fileobj is self.endpoint:
                        self.let_in()
                    elif key.data in self.callers:
                        self.hear(key.data)
            while not self.results.empty():
                self.finish(*self.results.get())

    def work(self):
        while True:
            job, text, continues = self.jobs.get()
            try:
                outcome = work(job, text, continues), None
            except Failed as failure:
                outcome = None, failure.args
            except Exception as error:
                outcome = None, ("failed", repr(error))
            self.results.put((job, *outcome))
            try:
                self.ring.send(b"r")
            except BlockingIOError:
                pass  # It rings already.

    def patience(self):
        times = [self.running["deadline"]] if self.running and self.running["deadline"] else []
        if self.idle_timeout and self.idle_since is not None:
            times.append(self.idle_since + self.idle_timeout)
        times += [caller.until for caller in self.callers if not caller.greeted]
        return max(0, min(times) - time.monotonic()) if times else None

    def look_at_the_clock(self):
        now = time.monotonic()
        running = self.running
        if running and running["deadline"] and running["deadline"] <= now:
            self.give_up("deadline", "the time for the job is over")
        if self.idle_timeout and self.idle_since is not None and self.idle_since + self.idle_timeout <= now:
            self.end()
        if self.ending and self.ending <= now:
            self.give_up("unavailable", "the worker ended")
        for caller in [caller for caller in self.callers if not caller.greeted and caller.until <= now]:
            self.drop(caller)

    def give_up(self, code, message):
        job = self.running
        if job and job["askers"] is not None:
            job["cancelled"].set()
            job["deadline"], self.idle_since = None, time.monotonic()
            self.remember(job, None, (code, message))
            job["askers"] = None

    def end(self):
        """No more jobs and no more connections; the job that runs has a moment to stop."""
        if self.ending is None:
            self.ending = time.monotonic() + 2
            self.endpoint.close()
            try:
                if os.path.samestat(os.stat(self.path), self.file):
                    os.unlink(self.path)
            except OSError:
                pass  # A policy may not let us; then whoever made it removes it.
            if self.running:
                self.running["cancelled"].set()

    def is_done(self):
        now = time.monotonic()
        return self.ending is not None and (not self.running or self.ending <= now) and (
            not any(caller.unsent for caller in self.callers) or self.ending + 0.5 <= now)

    def let_in(self):
        try:
            stream, _ = self.endpoint.accept()
        except OSError:
            return
        stream.setblocking(False)
        caller = Caller(stream)
        if len(self.callers) < 64:
            self.callers.add(caller)
        else:
            caller.answer(None, code="limit", message="too many connections")
            self.flush(caller)
            stream.close()

    def drop(self, caller):
        caller.stream.close()
        self.callers.discard(caller)
        if self.running and self.running["askers"]:
            self.running["askers"] = [asker for asker in self.running["askers"] if asker[0] is not caller]

    def flush(self, caller):
        try:
            while caller.unsent:
                caller.unsent = caller.unsent[caller.stream.send(caller.unsent, socket.MSG_NOSIGNAL):]
        except BlockingIOError:
            pass
        except OSError:
            caller.over, caller.unsent = True, b""
            self.drop(caller)

    def hear(self, caller):
        self.flush(caller)
        if not caller.over:
            try:
                received = caller.stream.recv(LINE)
                caller.received += received
                caller.over = not received
            except BlockingIOError:
                pass
            except OSError:
                return self.drop(caller)
        while b"\n" in caller.received:
            line, caller.received = caller.received.split(b"\n", 1)
            self.answer_line(caller, line) if len(line) <= LINE else self.too_long(caller)
        if len(caller.received) > LINE:
            self.too_long(caller)
        self.flush(caller)
        awaits = self.running and any(asker[0] is caller for asker in self.running["askers"] or ())
        if caller.over and not caller.unsent and not awaits and caller in self.callers:
            self.drop(caller)

    def too_long(self, caller):
        caller.answer(None, code="too_large", message="the line is too long")
        caller.over, caller.received = True, b""

    def answer_line(self, caller, line):
        try:
            message = json.loads(line)
            message = message if isinstance(message, dict) else {}
        except (ValueError, RecursionError):
            message = {}
        fresh, caller.fresh = caller.fresh, False
        if (fresh and "probe" in message) or caller.expected:
            return self.probe(caller, message)
        number = message.get("id")
        number = number if type(number) is int and 0 <= number < 1 << 64 else None
        try:
            caller.answer(number, self.consider(caller, number, message.get("req")))
        except Failed as failure:
            if failure.args:
                code, text, *more = failure.args
                caller.answer(number, code=code, message=text, **(more[0] if more else {}))
                if code in ("handshake_required", "version_mismatch"):
                    caller.over, caller.received = True, b""

    def probe(self, caller, message):
        try:
            if caller.expected:
                if not hmac.compare_digest(message["confirm"]["mac"], caller.expected):
                    raise ValueError("not who it should be")
                caller.expected = None
                return caller.say({"ready": {}})
            client, worker = bytes.fromhex(message["probe"]["nonce"]), secrets.token_bytes(32)
            if len(client) != 32 or self.commission is None:
                raise ValueError("nothing to be proven")
            caller.expected = self.commission.code(b"supervise client 1", client, worker)
            caller.say(self.commission.proof(client, worker))
        except (KeyError, TypeError, ValueError):
            caller.over, caller.received = True, b""  # Whoever cannot show what it must is told nothing.

    def consider(self, caller, number, request):
        verb, body = next(iter(request.items())) if isinstance(request, dict) and len(request) == 1 else (None, None)
        if not caller.greeted and (number is None or verb != "handshake"):
            raise Failed("handshake_required", "the handshake comes first")
        if verb is not None and verb not in ("handshake", "run", "continue", "status", "shutdown"):
            raise Failed("unknown_request", f"there is no request `{verb[:100]}`")
        if number is None or not isinstance(body, dict):
            raise Failed("bad_request", "not a request")
        return getattr(self, "do_" + verb)(caller, number, body)

    def do_handshake(self, caller, _number, body):
        version = body.get("version")
        if type(version) is not int:
            raise Failed("bad_request", "missing field `version`")
        if version != 1:
            raise Failed("version_mismatch", "version 1 is spoken here", {"client": version, "server": 1})
        caller.greeted = True
        told = self.commission.told if self.commission else {"service": "example", "version": "1"}
        return {"version": 1, "service": told["service"], "service_version": told["version"]}

    def do_run(self, caller, number, body):
        sid = body.get("sid") or secrets.token_hex(16)
        if "job" not in body or not isinstance(sid, str) or len(sid) != 32 or set(sid) - set("0123456789abcdef"):
            raise Failed("bad_request", "no job, or no name for a session")
        if sid in self.sessions or (self.running and self.running["sid"] == sid):
            raise Failed("session_exists", "there is a session of that name", {"sid": sid})
        self.begin(caller, number, sid, body["job"], body, False)

    def do_continue(self, caller, number, body):
        sid = body.get("sid")
        if self.running and self.running["sid"] == sid and self.running["askers"] is not None:
            if "input" in body:
                raise Failed("busy", "the session is at work", {"sid": sid})
            self.running["askers"].append((caller, number))
            raise Failed()
        if sid not in self.sessions:
            raise Failed("session_not_found", "there is no such session", {"sid": sid})
        output, failure, _ = self.sessions[sid]
        if body.get("input") is None:
            if failure:
                raise Failed(*failure, {"sid": sid})
            return {"sid": sid, "state": output[0], "output": output[1]}
        if failure or output[0] != "waiting":
            raise Failed("bad_request", "the session is over", {"sid": sid})
        self.begin(caller, number, sid, body["input"], body, True)

    def begin(self, caller, number, sid, text, body, continues):
        if self.ending is not None:
            raise Failed("unavailable", "the worker is ending")
        if self.running:
            raise Failed("busy", "a job runs")
        self.sessions.pop(sid, None)
        now, time_given = time.monotonic(), body.get("deadline_ms")
        self.running = {
            "sid": sid, "since": now, "askers": [(caller, number)], "cancelled": threading.Event(),
            "deadline": now + time_given / 1000 if isinstance(time_given, int) else None}
        self.idle_since = None
        self.jobs.put((self.running, text, continues))
        raise Failed()  # The answer comes later.

    def finish(self, job, output, failure):
        self.count, self.running = self.count + 1, None
        if job["askers"] is not None:
            self.idle_since = time.monotonic()
            self.remember(job, output, failure)

    def remember(self, job, output, failure):
        self.sessions[job["sid"]] = output, failure, time.monotonic()
        for state in (True, False):  # Those that wait, and those that are over, each by itself.
            kept = [sid for sid, (out, _, _) in self.sessions.items() if (out is not None and out[0] == "waiting") == state]
            for sid in kept[:-64]:
                del self.sessions[sid]
        for caller, number in job["askers"]:
            if failure:
                caller.answer(number, code=failure[0], message=failure[1], sid=job["sid"])
            else:
                caller.answer(number, {"sid": job["sid"], "state": output[0], "output": output[1]})
        for caller in {caller for caller, _ in job["askers"]}:
            self.flush(caller)
            if caller.over and not caller.unsent and caller in self.callers:
                self.drop(caller)  # It had nothing more to say, and waited for this alone.

    def do_status(self, _caller, _number, body):
        now = time.monotonic()
        state = "stopping" if self.ending else "idle"
        if self.running and not self.ending:
            state = "cancelling" if self.running["cancelled"].is_set() else "running"
        ms = lambda since: int((now - since) * 1000)
        known = [{"sid": sid, "state": "failed" if failure else output[0], "for_ms": ms(since)}
                 for sid, (output, failure, since) in self.sessions.items()]
        status = {
            "state": state, "waiting": [one for one in known if one["state"] == "waiting"], "jobs": self.count,
            "idle_ms": ms(self.idle_since) if self.idle_since is not None else 0,
            "idle_timeout_ms": int(self.idle_timeout * 1000)}
        if self.running:
            status["running"] = {"sid": self.running["sid"], "state": "running", "for_ms": ms(self.running["since"])}
        if body.get("include_history"):
            status["history"] = [one for one in known if one["state"] != "waiting"]
        return status

    def do_shutdown(self, _caller, _number, _body):
        self.end()
        return {}


if __name__ == "__main__":
    Worker(socket.socket(fileno=int(os.environ["SUPERVISE_WORKER_FD"]))).serve()
