"""Captures: starting, adopting, supervising and stopping them.

A capture is two things that live longer than this process: the flag in the
kernel that makes the program emit records, and the recorder that writes them
down. What is here only ever finds them, starts them and ends them, so that a
killed fwdcapd loses nothing.
"""
