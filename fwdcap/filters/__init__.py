"""What a reader of packets asks for, in words of ours, made into what fwdcap-scan understands.

Pure: text in, text or a refusal that names the mistake's place out.
"""
