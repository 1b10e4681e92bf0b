"""What programs of the former Python-only system call, carried out by npufleet.

- `signal`: its six signal operations as operations of the contract
"""
