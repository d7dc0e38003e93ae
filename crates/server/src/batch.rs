//! Batches of datagrams: `recvmmsg(2)` and `sendmmsg(2)`.
//!
//! The only `unsafe` code of this crate. The kernel is given pointers into arrays that this module
//! owns; they live in boxes that are never moved, grown or shared while a call runs, because every
//! call takes `&mut self`.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::RawFd;

use libc::{c_void, iovec, mmsghdr, sockaddr_in, sockaddr_in6, sockaddr_storage};

/// Octets for one control message with packet info, aligned as the kernel wants it.
const CONTROL_OCTETS: usize = 64;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_OCTETS]);

/// Received datagrams and their replies.
pub(crate) struct Batch {
    octets_max: usize,
    received: Box<[u8]>,
    replies: Box<[Vec<u8>]>,
    names: Box<[sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
    /// Which received datagram each reply to be sent belongs to.
    sending: Vec<usize>,
}

// SAFETY: the raw pointers in `vectors` and `headers` only ever point into boxes of the same value,
// which move along with it without changing their address, and are only followed in calls that have
// `&mut self`.
unsafe impl Send for Batch {}

/// One received datagram.
#[derive(Clone, Copy)]
pub(crate) struct Datagram<'a> {
    pub(crate) octets: &'a [u8],
    pub(crate) from: SocketAddr,
    /// The address it was sent to, on sockets that ask for it.
    pub(crate) to: Option<IpAddr>,
}

impl Batch {
    /// Room for `messages` datagrams of `octets_max` octets each.
    pub(crate) fn new(messages: usize, octets_max: usize) -> Self {
        // SAFETY: all of these are plain data for which zeroes are a valid value.
        let (name, vector, header): (sockaddr_storage, iovec, mmsghdr) =
            unsafe { (zeroed(), zeroed(), zeroed()) };
        Self {
            octets_max,
            received: vec![0; messages * octets_max].into(),
            replies: vec![Vec::new(); messages].into(),
            names: vec![name; messages].into(),
            controls: vec![Control([0; CONTROL_OCTETS]); messages].into(),
            vectors: vec![vector; messages].into(),
            headers: vec![header; messages].into(),
            sending: Vec::with_capacity(messages),
        }
    }

    /// Receives what is there, without waiting; at least one datagram, or an error such as
    /// `WouldBlock`.
    pub(crate) fn receive(&mut self, socket: RawFd) -> io::Result<usize> {
        self.sending.clear();
        for (index, buffer) in self.received.chunks_exact_mut(self.octets_max).enumerate() {
            self.vectors[index] = iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: self.octets_max,
            };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = size_of::<sockaddr_storage>() as u32;
            header.msg_iov = &raw mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.controls[index]).cast();
            header.msg_controllen = CONTROL_OCTETS as _;
            header.msg_flags = 0;
        }
        // SAFETY: every header points to buffers of the given lengths that this value owns and
        // nobody else uses now.
        let count = unsafe {
            libc::recvmmsg(
                socket,
                self.headers.as_mut_ptr(),
                self.headers.len() as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// The datagram at `index` of the last [`Batch::receive`]; nothing when the kernel had to cut
    /// it or its sender has no address.
    pub(crate) fn datagram(&self, index: usize) -> Option<Datagram<'_>> {
        let header = &self.headers[index];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let start = index * self.octets_max;
        let octets = self
            .received
            .get(start..start + (header.msg_len as usize).min(self.octets_max))?;
        Some(Datagram {
            octets,
            from: self.sender(index)?,
            to: self.destination(index),
        })
    }

    /// The buffer for the reply to the datagram at `index`, empty; [`Batch::send`] sends it.
    pub(crate) fn reply_to(&mut self, index: usize) -> &mut Vec<u8> {
        self.sending.push(index);
        self.replies[index].clear();
        &mut self.replies[index]
    }

    /// Puts the buffer of [`Batch::reply_to`] back, filled.
    pub(crate) fn put_back(&mut self, index: usize, reply: Vec<u8>) {
        self.replies[index] = reply;
    }

    /// Forgets the replies.
    pub(crate) fn sent(&mut self) {
        self.sending.clear();
    }

    /// Gives back the buffer that [`Batch::reply_to`] handed out last: nothing is sent from it.
    pub(crate) fn take_back(&mut self) {
        self.sending.pop();
    }

    /// Sends the replies from the one at `from` on; returns how many were taken.
    pub(crate) fn send(&mut self, socket: RawFd, from: usize) -> io::Result<usize> {
        let count = self.sending.len() - from;
        for (slot, &index) in self.sending[from..].iter().enumerate() {
            let reply = &mut self.replies[index];
            let name = &self.names[index];
            let name_length = match i32::from(name.ss_family) {
                libc::AF_INET => size_of::<sockaddr_in>(),
                _ => size_of::<sockaddr_in6>(),
            };
            self.vectors[slot] = iovec {
                iov_base: reply.as_mut_ptr().cast(),
                iov_len: reply.len(),
            };
            let control_length = prepare_source(&mut self.controls[index]);
            let header = &mut self.headers[slot].msg_hdr;
            header.msg_name = (&raw const *name).cast_mut().cast();
            header.msg_namelen = name_length as u32;
            header.msg_iov = &raw mut self.vectors[slot];
            header.msg_iovlen = 1;
            header.msg_control = match control_length {
                0 => std::ptr::null_mut(),
                _ => (&raw mut self.controls[index]).cast::<c_void>(),
            };
            header.msg_controllen = control_length as _;
            header.msg_flags = 0;
        }
        // SAFETY: the first `count` headers point to replies, names and controls that this value
        // owns; the kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                socket,
                self.headers.as_mut_ptr(),
                count as u32,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// How many replies there are to send.
    pub(crate) fn replies(&self) -> usize {
        self.sending.len()
    }

    fn sender(&self, index: usize) -> Option<SocketAddr> {
        let name: *const sockaddr_storage = &raw const self.names[index];
        let length = self.headers[index].msg_hdr.msg_namelen as usize;
        match i32::from(self.names[index].ss_family) {
            libc::AF_INET if length >= size_of::<sockaddr_in>() => {
                // SAFETY: the kernel wrote a whole sockaddr_in there, as family and length say, and
                // sockaddr_storage is large enough and aligned for it.
                let v4 = unsafe { &*name.cast::<sockaddr_in>() };
                let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::from((address, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 if length >= size_of::<sockaddr_in6>() => {
                // SAFETY: as above, with sockaddr_in6.
                let v6 = unsafe { &*name.cast::<sockaddr_in6>() };
                let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(
                    SocketAddrV6::new(
                        address,
                        u16::from_be(v6.sin6_port),
                        v6.sin6_flowinfo,
                        v6.sin6_scope_id,
                    )
                    .into(),
                )
            }
            _ => None,
        }
    }

    fn destination(&self, index: usize) -> Option<IpAddr> {
        if self.headers[index].msg_hdr.msg_controllen == 0 {
            return None;
        }
        match packet_info(&self.controls[index])? {
            Info::V4(info) => Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into()),
            Info::V6(info) => Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into()),
        }
    }
}

enum Info {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

/// Where the data of a control message begins, as `CMSG_DATA` has it: the header is a multiple of
/// the alignment.
const DATA: usize = size_of::<libc::cmsghdr>();
const _: () = assert!(
    DATA + size_of::<libc::in6_pktinfo>() <= CONTROL_OCTETS
        && DATA.is_multiple_of(align_of::<usize>())
);

fn packet_info(control: &Control) -> Option<Info> {
    // SAFETY: a Control is aligned for a cmsghdr and larger than one; any octets are a valid
    // cmsghdr.
    let header = unsafe { &*control.0.as_ptr().cast::<libc::cmsghdr>() };
    let data = control.0[DATA..].as_ptr();
    match (header.cmsg_level, header.cmsg_type) {
        // SAFETY: any octets are a valid in_pktinfo, and the constant assertion above says that one
        // fits.
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => Some(Info::V4(unsafe {
            data.cast::<libc::in_pktinfo>().read_unaligned()
        })),
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            // SAFETY: as above.
            Some(Info::V6(unsafe {
                data.cast::<libc::in6_pktinfo>().read_unaligned()
            }))
        }
        _ => None,
    }
}

/// Turns the packet info of a received datagram into that of its reply, which leaves from the
/// address that was asked; returns the length of the control data.
fn prepare_source(control: &mut Control) -> usize {
    let written = match packet_info(control) {
        None => return 0,
        Some(Info::V4(mut info)) => {
            // The route decides about the interface; the source address is the one that was asked.
            info.ipi_ifindex = 0;
            info.ipi_spec_dst = info.ipi_addr;
            // SAFETY: in_pktinfo is plain data; the constant assertion above says that it fits.
            unsafe {
                control.0[DATA..]
                    .as_mut_ptr()
                    .cast::<libc::in_pktinfo>()
                    .write_unaligned(info)
            };
            size_of::<libc::in_pktinfo>()
        }
        Some(Info::V6(mut info)) => {
            // Link-local addresses mean nothing without their interface.
            if !Ipv6Addr::from(info.ipi6_addr.s6_addr).is_unicast_link_local() {
                info.ipi6_ifindex = 0;
            }
            // SAFETY: as above, with in6_pktinfo.
            unsafe {
                control.0[DATA..]
                    .as_mut_ptr()
                    .cast::<libc::in6_pktinfo>()
                    .write_unaligned(info)
            };
            size_of::<libc::in6_pktinfo>()
        }
    };
    // CMSG_SPACE: header and data, rounded up to the alignment.
    DATA + written.next_multiple_of(align_of::<usize>())
}

/// The control data that makes a datagram leave from `source`.
pub(crate) fn source_control(source: IpAddr) -> ([u8; CONTROL_OCTETS], usize) {
    let mut control = Control([0; CONTROL_OCTETS]);
    // SAFETY: a Control is aligned for a cmsghdr, and in_pktinfo and in6_pktinfo fit behind one
    // (asserted above); all of them are plain data.
    unsafe {
        let header = &mut *control.0.as_mut_ptr().cast::<libc::cmsghdr>();
        let data = control.0[DATA..].as_mut_ptr();
        match source {
            IpAddr::V4(v4) => {
                let mut info: libc::in_pktinfo = zeroed();
                info.ipi_addr.s_addr = u32::from(v4).to_be();
                (header.cmsg_level, header.cmsg_type) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
                header.cmsg_len = (DATA + size_of::<libc::in_pktinfo>()) as _;
                data.cast::<libc::in_pktinfo>().write_unaligned(info);
            }
            IpAddr::V6(v6) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: v6.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                (header.cmsg_level, header.cmsg_type) = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
                header.cmsg_len = (DATA + size_of::<libc::in6_pktinfo>()) as _;
                data.cast::<libc::in6_pktinfo>().write_unaligned(info);
            }
        }
    }
    let length = prepare_source(&mut control);
    (control.0, length)
}

/// Asks the kernel to tell with each datagram which address it was sent to.
pub(crate) fn want_destinations(socket: RawFd, v6: bool) -> io::Result<()> {
    let (level, option) = match v6 {
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
    };
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads the four octets of `on`.
    let status = unsafe {
        libc::setsockopt(
            socket,
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How full a socket's receive queue is: octets of it that are used, and how many there may be.
pub(crate) fn backlog(socket: RawFd) -> Option<(usize, usize)> {
    /// Places in what `SO_MEMINFO` fills in (`linux/sock_diag.h`).
    const USED: usize = 0;
    const LIMIT: usize = 1;
    let mut info = [0u32; 9];
    let mut length = size_of_val(&info) as u32;
    // SAFETY: the kernel writes at most `length` octets to `info`, and how many to `length`.
    let status = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    (status == 0).then(|| (info[USED] as usize, info[LIMIT] as usize))
}

/// Raises the soft limit of open files to the hard one, as Go programs do; a resolver has thousands
/// of connections.
pub(crate) fn raise_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit writes to, setrlimit reads the structure it is given.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0
            && limit.rlim_cur < limit.rlim_max
        {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    fn exchange(server: &UdpSocket, to: SocketAddr, v6: bool) {
        want_destinations(server.as_raw_fd(), v6).unwrap();
        let client = UdpSocket::bind((to.ip(), 0)).unwrap();
        client.connect(to).unwrap();
        client
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        for text in ["one", "two", "three"] {
            client.send(text.as_bytes()).unwrap();
        }
        let mut batch = Batch::new(4, 64);
        assert_eq!(batch.receive(server.as_raw_fd()).unwrap(), 3);
        for index in 0..3 {
            let datagram = batch.datagram(index).unwrap();
            assert_eq!(
                (datagram.from, datagram.to),
                (client.local_addr().unwrap(), Some(to.ip()))
            );
            let text = datagram.octets.to_vec();
            batch.reply_to(index).extend(text.iter().rev());
            if index == 1 {
                batch.take_back();
            }
        }
        assert_eq!(batch.replies(), 2);
        assert_eq!(batch.send(server.as_raw_fd(), 0).unwrap(), 2);
        for text in ["eno", "eerht"] {
            let mut buffer = [0; 64];
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(
                &buffer[..length],
                text.as_bytes(),
                "connected, so the reply came from the address that was asked"
            );
        }
        assert_eq!(
            batch.receive(server.as_raw_fd()).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }

    #[test]
    fn replies_leave_from_the_address_that_was_asked() {
        let server = UdpSocket::bind("0.0.0.0:0").unwrap();
        exchange(
            &server,
            SocketAddr::from(([127, 0, 0, 3], server.local_addr().unwrap().port())),
            false,
        );
        let server = UdpSocket::bind("[::]:0").unwrap();
        exchange(
            &server,
            SocketAddr::from((Ipv6Addr::LOCALHOST, server.local_addr().unwrap().port())),
            true,
        );
    }

    #[test]
    fn the_backlog_grows_with_what_is_queued() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (used, limit) = backlog(server.as_raw_fd()).unwrap();
        assert!(used == 0 && limit > 64 * 1024, "{used} of {limit}");
        for _ in 0..10 {
            client
                .send_to(&[7; 64], server.local_addr().unwrap())
                .unwrap();
        }
        let (used, _) = backlog(server.as_raw_fd()).unwrap();
        assert!((640..limit).contains(&used), "{used}");
    }

    #[test]
    fn a_datagram_that_was_cut_is_none() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client
            .send_to(&[7; 65], server.local_addr().unwrap())
            .unwrap();
        client
            .send_to(&[7; 64], server.local_addr().unwrap())
            .unwrap();
        let mut batch = Batch::new(4, 64);
        assert_eq!(batch.receive(server.as_raw_fd()).unwrap(), 2);
        assert!(batch.datagram(0).is_none());
        assert_eq!(
            (
                batch.datagram(1).unwrap().octets.len(),
                batch.datagram(1).unwrap().to
            ),
            (64, None)
        );
    }
}
