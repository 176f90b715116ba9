#!/usr/bin/env python3
"""How fast packets arrive at an interface, by its own counter: arrivals.py INTERFACE, until it is interrupted.

Prints packets a second between the time a tenth of them had come and the time nine tenths had: no start, no end.
"""
import signal, sys, time

counter = f"/sys/class/net/{sys.argv[1]}/statistics/rx_packets"


def arrived():
    with open(counter) as file:
        return int(file.read())


over = []
signal.signal(signal.SIGINT, lambda *_: over.append(True))
first = arrived()
seen = [(time.monotonic(), 0)]
while not over:
    time.sleep(0.02)
    seen.append((time.monotonic(), arrived() - first))
total = seen[-1][1]
middle = [(at, count) for at, count in seen if total / 10 <= count <= total * 9 / 10]
(begun, before), (ended, after) = (middle[0], middle[-1]) if middle else (seen[0], seen[-1])
print(int((after - before) / max(ended - begun, 0.001)))
