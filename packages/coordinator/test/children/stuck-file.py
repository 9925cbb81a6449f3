"""Sends a coordinator files that cannot be closed: stuck-file.py <socket> <folder> <bytes in hex, without descriptors>
<bytes in hex, with the files> <number of files>. The files are of a file system (FUSE) that a child of this process serves and that never answers a
flush, for which close() waits. Prints the process that serves them once they are sent, and then stays. End that one first: until it has
gone, nobody who has such a file can even be killed. It ends by itself after a minute."""

import ctypes
import os
import signal
import socket
import struct
import sys
import time

path, folder, before, after, count = sys.argv[1:]
INIT, LOOKUP, GETATTR, OPEN, FLUSH, RELEASE, FORGET, INTERRUPT = 26, 1, 3, 14, 25, 18, 2, 36
ENOSYS = -38

device = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
if libc.mount(b"stuck", folder.encode(), b"fuse", 6, options.encode()) != 0:
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")


def attributes(inode):
    mode = 0o40755 if inode == 1 else 0o100644
    return struct.pack("<QQQQQQIIIIIIIIII", inode, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def serve():
    while True:
        request = os.read(device, 1 << 17)
        _, opcode, unique, inode = struct.unpack_from("<IIQQ", request)
        error, body = 0, b""
        if opcode == INIT:
            body = struct.pack("<IIIIHHIIHHI7I", 7, 31, 1 << 17, 0, 16, 12, 1 << 16, 1, 32, 0, 0, *[0] * 7)
        elif opcode == LOOKUP:
            body = struct.pack("<QQQQII", 2, 1, 3600, 3600, 0, 0) + attributes(2)
        elif opcode == GETATTR:
            body = struct.pack("<QII", 3600, 0, 0) + attributes(inode)
        elif opcode == OPEN:
            body = struct.pack("<QII", 1, 0, 0)
        elif opcode in (FLUSH, FORGET, INTERRUPT):
            continue
        elif opcode != RELEASE:
            error = ENOSYS
        os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


server = os.fork()
if server == 0:
    signal.alarm(60)
    serve()
os.close(device)
files = [os.open(os.path.join(folder, "file"), os.O_RDONLY) for _ in range(int(count))]
stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
stream.connect(path)
stream.sendall(bytes.fromhex(before))
stream.recv(1 << 16)
socket.send_fds(stream, [bytes.fromhex(after)], files)
print(server, flush=True)
time.sleep(3600)
