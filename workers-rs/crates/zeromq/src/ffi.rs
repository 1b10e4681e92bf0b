//! libzmq's functions as `zmq.h` of 4.3.5 declares them.

use std::ffi::{c_char, c_int, c_long, c_short, c_void};

/// `zmq_msg_t`: opaque, and moved by copying its bytes as libzmq's own bindings do.
#[repr(C, align(8))]
pub(crate) struct RawMessage(pub(crate) [u8; 64]);

/// `zmq_pollitem_t`.
#[repr(C)]
pub(crate) struct PollItem {
    pub(crate) socket: *mut c_void,
    pub(crate) descriptor: c_int,
    pub(crate) events: c_short,
    pub(crate) returned: c_short,
}

pub(crate) type FreeFunction = unsafe extern "C" fn(data: *mut c_void, hint: *mut c_void);

pub(crate) const DONTWAIT: c_int = 1;
pub(crate) const SNDMORE: c_int = 2;
pub(crate) const RCVMORE: c_int = 13;
pub(crate) const MAXMSGSIZE: c_int = 22;
pub(crate) const LAST_ENDPOINT: c_int = 32;
pub(crate) const CURVE_SERVER: c_int = 47;
pub(crate) const CURVE_PUBLICKEY: c_int = 48;
pub(crate) const CURVE_SECRETKEY: c_int = 49;
pub(crate) const CURVE_SERVERKEY: c_int = 50;
pub(crate) const PAIR: c_int = 0;
pub(crate) const POLLIN: c_short = 1;

unsafe extern "C" {
    pub(crate) fn zmq_errno() -> c_int;
    pub(crate) fn zmq_strerror(number: c_int) -> *const c_char;
    pub(crate) fn zmq_has(capability: *const c_char) -> c_int;
    pub(crate) fn zmq_curve_keypair(public: *mut c_char, secret: *mut c_char) -> c_int;

    pub(crate) fn zmq_ctx_new() -> *mut c_void;
    pub(crate) fn zmq_ctx_term(context: *mut c_void) -> c_int;

    pub(crate) fn zmq_socket(context: *mut c_void, kind: c_int) -> *mut c_void;
    pub(crate) fn zmq_close(socket: *mut c_void) -> c_int;
    pub(crate) fn zmq_setsockopt(socket: *mut c_void, option: c_int, value: *const c_void, length: usize) -> c_int;
    pub(crate) fn zmq_getsockopt(socket: *mut c_void, option: c_int, value: *mut c_void, length: *mut usize) -> c_int;
    pub(crate) fn zmq_bind(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    pub(crate) fn zmq_connect(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    pub(crate) fn zmq_socket_monitor(socket: *mut c_void, endpoint: *const c_char, events: c_int) -> c_int;

    pub(crate) fn zmq_msg_init(message: *mut RawMessage) -> c_int;
    pub(crate) fn zmq_msg_init_size(message: *mut RawMessage, size: usize) -> c_int;
    pub(crate) fn zmq_msg_init_data(
        message: *mut RawMessage,
        data: *mut c_void,
        size: usize,
        free: Option<FreeFunction>,
        hint: *mut c_void,
    ) -> c_int;
    pub(crate) fn zmq_msg_send(message: *mut RawMessage, socket: *mut c_void, flags: c_int) -> c_int;
    pub(crate) fn zmq_msg_recv(message: *mut RawMessage, socket: *mut c_void, flags: c_int) -> c_int;
    pub(crate) fn zmq_msg_close(message: *mut RawMessage) -> c_int;
    pub(crate) fn zmq_msg_data(message: *const RawMessage) -> *mut c_void;
    pub(crate) fn zmq_msg_size(message: *const RawMessage) -> usize;

    pub(crate) fn zmq_poll(items: *mut PollItem, count: c_int, timeout_ms: c_long) -> c_int;
}
