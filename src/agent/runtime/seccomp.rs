//! Which system calls a workload may not make: those that open large parts of the kernel that no job needs (keys, tracing of
//! the whole machine, loading of code, mounts, namespaces) or that lead out of the network namespace. Everything that CUDA,
//! NCCL, MPI, debuggers and interpreters use stays as it is: above all `ioctl` and `mmap` are not looked at.
//!
//! The filter is a classic BPF program of some sixty instructions, put together here: small enough to be read whole.

/// The answer to a refused call.
const EPERM: u32 = 1;
/// The answer that makes libraries take an older way.
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

/// Kinds of new namespaces in the flags of `clone`; of its other bits, all stay allowed.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// Sockets that no network namespace holds back: into the hypervisor's host, and into the kernel's ciphers.
const AF_VSOCK: u32 = 40;
const AF_ALG: u32 = 38;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The lower half of the first argument; both processors keep it first.
const FIRST: u32 = 16;

/// Operations of classic BPF (linux/bpf_common.h).
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

/// A processor's name for itself and its numbers of calls.
struct Processor {
    architecture: u32,
    /// From here on numbers belong to another way of calling (x32).
    foreign: Option<u32>,
    clone: u32,
    clone3: u32,
    socket: u32,
    refused: &'static [u32],
}

/// Calls with the same number on both processors, which all newer ones have: open_tree, move_mount, fsopen, fsconfig,
/// fsmount, fspick, mount_setattr, quotactl_fd, and io_uring's three.
const SHARED: [u32; 11] = [428, 429, 430, 431, 432, 433, 442, 443, 425, 426, 427];

#[cfg(target_arch = "x86_64")]
const HERE: Option<Processor> = Some(Processor {
    architecture: 0xc000_003e,
    foreign: Some(0x4000_0000),
    clone: 56,
    clone3: 435,
    socket: 41,
    refused: &[
        248, 249, 250, // add_key, request_key, keyctl
        321, 298, 323, // bpf, perf_event_open, userfaultfd
        246, 320, 175, 313, 176, // kexec_load, kexec_file_load, init_module, finit_module, delete_module
        165, 166, 155, 161, // mount, umount2, pivot_root, chroot
        272, 308, // unshare, setns
        167, 168, 169, 163, 179, // swapon, swapoff, reboot, acct, quotactl
        304, 212, 103, // open_by_handle_at, lookup_dcookie, syslog
        172, 173, 154, // iopl, ioperm, modify_ldt
        164, 227, 170, 171, // settimeofday, clock_settime, sethostname, setdomainname
    ],
});

#[cfg(target_arch = "aarch64")]
const HERE: Option<Processor> = Some(Processor {
    architecture: 0xc000_00b7,
    foreign: None,
    clone: 220,
    clone3: 435,
    socket: 198,
    refused: &[
        217, 218, 219, // add_key, request_key, keyctl
        280, 241, 282, // bpf, perf_event_open, userfaultfd
        104, 294, 105, 273, 106, // kexec_load, kexec_file_load, init_module, finit_module, delete_module
        40, 39, 41, 51, // mount, umount2, pivot_root, chroot
        97, 268, // unshare, setns
        224, 225, 142, 89, 60, // swapon, swapoff, reboot, acct, quotactl
        265, 18, 116, // open_by_handle_at, lookup_dcookie, syslog
        170, 112, 161, 162, // settimeofday, clock_settime, sethostname, setdomainname
    ],
});

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const HERE: Option<Processor> = None;

/// One instruction: what, where to when it holds and when not (counted from the next one), and its number.
type Instruction = (u16, u8, u8, u32);

/// The filter in the form that bubblewrap's `--seccomp` reads; `None` on a processor whose numbers are not known here.
pub fn filter() -> Option<Vec<u8>> {
    let bytes = |(code, yes, no, number): Instruction| {
        let mut bytes = code.to_ne_bytes().to_vec();
        bytes.extend([yes, no]);
        bytes.extend(number.to_ne_bytes());
        bytes
    };
    Some(program(&HERE?).into_iter().flat_map(bytes).collect())
}

fn program(processor: &Processor) -> Vec<Instruction> {
    let answer = |code: u32| (RETURN, 0, 0, ERRNO | code);
    let mut program = vec![
        (LOAD, 0, 0, ARCHITECTURE),
        // Another processor's calls have other numbers: none of them is let through.
        (IF_EQUAL, 1, 0, processor.architecture),
        answer(ENOSYS),
        (LOAD, 0, 0, NUMBER),
    ];
    if let Some(foreign) = processor.foreign {
        program.extend([(IF_AT_LEAST, 0, 1, foreign), answer(ENOSYS)]);
    }
    for number in processor.refused.iter().chain(&SHARED) {
        program.extend([(IF_EQUAL, 0, 1, *number), answer(EPERM)]);
    }
    // Its flags lie in memory, where no filter can look; without it libraries use `clone`.
    program.extend([(IF_EQUAL, 0, 1, processor.clone3), answer(ENOSYS)]);
    program.extend([(IF_EQUAL, 0, 3, processor.clone), (LOAD, 0, 0, FIRST)]);
    program.extend([(IF_ANY_BIT, 0, 6, NEW_NAMESPACES), answer(EPERM)]);
    program.extend([(IF_EQUAL, 0, 4, processor.socket), (LOAD, 0, 0, FIRST)]);
    program.extend([(IF_EQUAL, 1, 0, AF_VSOCK), (IF_EQUAL, 0, 1, AF_ALG), answer(EAFNOSUPPORT)]);
    program.push((RETURN, 0, 0, ALLOW));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE_UP: Processor =
        Processor { architecture: 7, foreign: Some(1000), clone: 10, clone3: 11, socket: 12, refused: &[20, 21] };

    /// What the kernel would answer, by the rules of classic BPF.
    fn run(program: &[Instruction], architecture: u32, number: u32, first: u32) -> u32 {
        let (mut at, mut held) = (0, 0);
        loop {
            let (code, yes, no, value) = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { yes } else { no });
            match code {
                LOAD => {
                    held = [(NUMBER, number), (ARCHITECTURE, architecture), (FIRST, first)]
                        .into_iter()
                        .find_map(|(offset, loaded)| (offset == value).then_some(loaded))
                        .unwrap()
                }
                IF_EQUAL => at += jump(held == value),
                IF_AT_LEAST => at += jump(held >= value),
                IF_ANY_BIT => at += jump(held & value != 0),
                RETURN => return value,
                other => panic!("unknown operation {other}"),
            }
        }
    }

    #[test]
    fn what_is_listed_is_refused_and_nothing_else() {
        let program = program(&MADE_UP);
        let ask = |number, first| run(&program, 7, number, first);
        for refused in [20, 21].iter().chain(&SHARED) {
            assert_eq!(ask(*refused, 0), ERRNO | EPERM);
        }
        assert_eq!(
            (run(&program, 8, 20, 0), ask(1000, 0), ask(11, 0)),
            (ERRNO | ENOSYS, ERRNO | ENOSYS, ERRNO | ENOSYS)
        );
        // A thread and a child are allowed, a namespace is not.
        assert_eq!((ask(10, 0x003d_0f00), ask(10, 17)), (ALLOW, ALLOW));
        assert_eq!((ask(10, 0x1000_0000 | 17), ask(10, 0x0002_0000)), (ERRNO | EPERM, ERRNO | EPERM));
        for family in [1, 2, 10, 16] {
            assert_eq!(ask(12, family), ALLOW);
        }
        assert_eq!((ask(12, AF_VSOCK), ask(12, AF_ALG)), (ERRNO | EAFNOSUPPORT, ERRNO | EAFNOSUPPORT));
        // The first argument of other calls means something else.
        assert_eq!((ask(13, AF_VSOCK), ask(13, NEW_NAMESPACES), ask(9, 0)), (ALLOW, ALLOW, ALLOW));
    }

    #[test]
    fn it_fits_what_carries_it() {
        let bytes = filter().unwrap();
        // The kernel takes 4096 instructions, a pipe without a reader 4096 bytes at the very least.
        assert!(bytes.len().is_multiple_of(8) && bytes.len() < 4096, "{}", bytes.len());
    }
}
