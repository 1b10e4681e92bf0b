"""What two processes of a fleet say to each other; knows nothing of the rest of the package.

document   broker/contract/contract.toml as data
contract   operations, limits, lanes: the rows of broker/contract/contract.toml
rules      what a single operation demands beyond its row
dtype      element types: the safetensors word, the NumPy dtype, bytes per element
array      any array-like as a NumPy array that a frame can hold
layout     a frame's header: written, and checked before anything is read
frame      tensors and parameters to bytes and back, without copying what is decoded
prepare    the same for one request to an operation, checked and cached
subject    names of NATS subjects
header     names and values of message headers
claim      a reference to a frame that lies elsewhere
"""
