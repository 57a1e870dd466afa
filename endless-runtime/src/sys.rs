//! The one file with `unsafe`: what neither std nor nix offers safely.
//!
//! Each function takes and returns owned or borrowed descriptors, so that raw numbers stay in here, in
//! the environment variable that names an inherited one, and in the message parser's tests.
#![allow(unsafe_code, reason = "everything in here is what the rest of the crate must not need")]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::signal::Signal;
use tokio::io::unix::AsyncFd;

use crate::endlessctl::Desk;

/// Takes ownership of the descriptors that `recvmsg(2)` has left in `control`, which held nothing but zeros
/// before; also where some did not come (`MSG_CTRUNC`), so that the others do not stay open for ever. The kernel
/// leaves one message with descriptors a call, and nothing else that was not asked for.
#[allow(clippy::unnecessary_cast, reason = "the length has another type on each system")]
pub(crate) fn own_received(control: &[u8]) -> Vec<OwnedFd> {
    // SAFETY: an all-zero `msghdr` is a valid one, without a name and without buffers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_control = control.as_ptr().cast_mut().cast();
    message.msg_controllen = control.len() as _;
    // SAFETY: the header is null or lies within `control`, whole, and so does what its length, which the kernel
    // has written or nobody, says that follows it. No reference is made to either, as neither need be aligned.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() {
            return Vec::new();
        }
        let libc::cmsghdr { cmsg_len, cmsg_level, cmsg_type, .. } = header.read_unaligned();
        if (cmsg_level, cmsg_type) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            return Vec::new();
        }
        let numbers = libc::CMSG_DATA(header).cast::<RawFd>();
        let count = (cmsg_len as usize - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
        // Each is handed out exactly once: the caller reads into new zeros the next time.
        (0..count).map(|at| OwnedFd::from_raw_fd(numbers.add(at).read_unaligned())).collect()
    }
}

/// Takes ownership of the descriptor that a predecessor left open for us, if its inode is the expected one
/// and it
/// `is_ours`, and sets close-on-exec on it.
pub(crate) fn own_inherited(
    raw: RawFd,
    inode: u64,
    is_ours: impl FnOnce(BorrowedFd<'_>) -> bool,
) -> Option<OwnedFd> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `fstat` writes a whole `stat` on success and fails on a number that is not open.
    let stat = match unsafe { libc::fstat(raw, stat.as_mut_ptr()) } {
        0 => unsafe { stat.assume_init() },
        _ => return None,
    };
    if stat.st_ino != inode || stat.st_mode & libc::S_IFMT != libc::S_IFSOCK {
        return None;
    }
    // SAFETY: it is open, and nobody closes it while `is_ours` looks: this runs before `main`, or at
    // endless's first call.
    if !is_ours(unsafe { BorrowedFd::borrow_raw(raw) }) {
        return None;
    }
    // SAFETY: it is the socket that the predecessor made for this process alone, and
    // `handover::environment` calls this once, before anything else could have taken the number.
    let owned = unsafe { OwnedFd::from_raw_fd(raw) };
    fcntl(&owned, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    Some(owned)
}

/// Takes ownership of a descriptor that this process kept open for itself through `execve(2)`, or that was
/// left for it alone; if its inode is the expected one, where one is expected.
///
/// # Errors
///
/// If it is not open, or another one.
pub(crate) fn own_kept(raw: RawFd, inode: Option<u64>) -> std::io::Result<OwnedFd> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `fstat` writes a whole `stat` on success and fails on a number that is not open.
    let stat = match unsafe { libc::fstat(raw, stat.as_mut_ptr()) } {
        0 => unsafe { stat.assume_init() },
        _ => return Err(std::io::Error::last_os_error()),
    };
    if inode.is_some_and(|inode| inode != stat.st_ino) {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidData));
    }
    // SAFETY: it is open, and `supervisor::succession` calls this once for each number that this process
    // itself wrote down, or its parent for it, before anything else could have taken it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// A close-on-exec copy of what is open under this number, if anything is; whoever owns that keeps it.
pub(crate) fn duplicate(raw: RawFd) -> std::io::Result<OwnedFd> {
    // SAFETY: the call takes three integers, and fails on a number that is not open.
    match unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, 3) } {
        -1 => Err(std::io::Error::last_os_error()),
        // SAFETY: the number is fresh and nobody else's.
        fresh => Ok(unsafe { OwnedFd::from_raw_fd(fresh) }),
    }
}

/// A descriptor that becomes readable when the process `pid` ends (`pidfd_open(2)`).
#[cfg(target_os = "linux")]
pub(crate) fn pidfd_open(pid: nix::unistd::Pid) -> std::io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and returns a new close-on-exec descriptor or -1.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    match RawFd::try_from(raw) {
        // SAFETY: the number is fresh and nobody else's.
        Ok(raw) if raw >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(raw) }),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Lets the runtime watch a descriptor.
#[cfg(target_os = "linux")]
pub(crate) fn watched(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` refers to one and the same open descriptor for as long as it lives.
    unsafe { AsyncFd::register(descriptor) }.map_err(Into::into)
}

/// Lets the runtime watch what operators ask.
pub(crate) fn watched_desk(desk: Desk) -> std::io::Result<AsyncFd<Desk>> {
    // SAFETY: a desk has one epoll, which it keeps for as long as it lives and gives to nobody.
    unsafe { AsyncFd::register(desk) }.map_err(Into::into)
}

/// Sends a signal to the process that `pidfd` stands for, and to no other that got its number.
#[cfg(target_os = "linux")]
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> std::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let null = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the call takes three integers and a pointer that may be null.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal as i32, null, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Whether the descriptor is one of the last `reserve` that this process may have (`RLIMIT_NOFILE`), or of
/// the last quarter if that is less. The kernel gives out the lowest number that is free, so all below it are
/// in use.
pub(crate) fn is_among_the_last(descriptor: BorrowedFd<'_>, reserve: libc::rlim_t) -> bool {
    use std::os::fd::AsRawFd as _;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `getrlimit` writes a whole `rlimit` on success.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return false;
    }
    let all = limit.rlim_cur;
    u64::try_from(descriptor.as_raw_fd()).is_ok_and(|number| number >= all - reserve.min(all / 4))
}

/// Whether `signal` is ignored by this process now (`sigaction(2)` with no new action).
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action only asks; the old one is written whole on success.
    unsafe {
        libc::sigaction(signal as libc::c_int, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Ends the process at once: no destructor, no `atexit` function that a stuck thread could hold up.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit(2)` has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Runs [`crate::control::prepare_successor`] before `main`, and so before the program can have started a
/// thread: signals come to a successor blocked, and a thread started before handlers stand would pass the
/// blocked set on to every process that it starts.
#[used]
#[cfg_attr(
    any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd"
    ),
    unsafe(link_section = ".init_array")
)]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn before_main() {
        crate::control::prepare_successor();
    }
    before_main
};
