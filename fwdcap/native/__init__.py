"""The C part of fwdcap, and the generator of its Python twin.

`abi.h` is the contract between the BPF program, the recorder and Python;
`generate_abi` turns it into `fwdcap/abi.py`. Nothing here runs in production:
the products of the Makefile are loaded and started by others.
"""
