# SPDX-License-Identifier: MIT
"""Runs a command on a new pseudo-terminal and plays the user.

terminal_user.py PLAN COMMAND...: PLAN is JSON, a list of steps:
  {"expect": TEXT}  wait until TEXT was written to the terminal (once more)
  {"type": TEXT}    press these keys
  {"signal": N}     send the command a signal
  {"note": NAME}    keep whether the terminal echoes now
  {"hang_up": true} close the terminal
Prints JSON: the notes, all that was written, and the command's wait status.
"""
import json
import os
import pty
import select
import sys
import termios
import time

TIMEOUT = 120


def echoes(fd):
    return bool(termios.tcgetattr(fd)[3] & termios.ECHO)


def main():
    plan, command = json.loads(sys.argv[1]), sys.argv[2:]
    pid, master = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)

    output, notes, deadline = b"", {}, time.monotonic() + TIMEOUT
    seen = 0  # up to where steps have looked at the output

    def read():
        nonlocal output
        if not select.select([master], [], [], max(0, deadline - time.monotonic()))[0]:
            sys.exit(f"timed out; the terminal shows {output!r}")
        try:
            data = os.read(master, 4096)
        except OSError:  # EIO: nobody has the other side open
            data = b""
        output += data
        return data

    for step in plan:
        if "expect" in step:
            text = step["expect"].encode()
            while text not in output[seen:]:
                if not read():
                    sys.exit(f"the command ended; the terminal shows {output!r}")
            seen = output.index(text, seen) + len(text)
        elif "type" in step:
            os.write(master, step["type"].encode("latin-1"))
        elif "signal" in step:
            os.kill(pid, step["signal"])
        elif "note" in step:
            notes[step["note"]] = echoes(master)
        elif "hang_up" in step:
            os.close(master)
            master = None
    while master is not None and read():
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if master is not None:
        notes["after"] = echoes(master)
    print(json.dumps({"output": output.decode("latin-1"), "notes": notes, "status": status}))


main()
