"""Counts words, the way scripts do: files, a temporary file, a child process, threads, a pipe."""

import collections
import concurrent.futures
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile


def count(path):
    return collections.Counter(path.read_text(encoding="utf-8").split())


def main(source, result):
    paths = sorted(pathlib.Path(source).glob("*.txt"))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        total = sum(pool.map(count, paths), collections.Counter())
    with tempfile.NamedTemporaryFile("w+", encoding="utf-8") as kept:
        kept.write("\n".join(sorted(total.elements())))
        kept.flush()
        lines = subprocess.run(
            ["sort", "-u", kept.name], check=True, capture_output=True, text=True
        ).stdout.split()
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    out = pathlib.Path(result)
    out.write_text(json.dumps({"words": len(lines), "all": total.total(), "digest": digest}))
    print(len(lines), total.total())


if __name__ == "__main__":
    main(*sys.argv[1:])
