//! The wire format.
use std::net::SocketAddr;
use tcp::checksum;
use tcp::segment::{Burst, Malformed, Options, ACK, FIN, PSH, SYN};
use tcp::sim::Random;
use tcp::Segment;

/// RFC 1071, as plain as possible.
fn plain(data: &[u8]) -> u16 {
    let mut acc: u32 = 0;
    for c in data.chunks(2) {
        acc += u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]));
        acc = (acc & 0xffff) + (acc >> 16);
    }
    acc as u16
}

#[test]
fn checksum_agrees_with_the_definition() {
    let mut r = Random(1);
    for n in 0..300 {
        let data: Vec<u8> = (0..n).map(|_| if n % 3 == 0 { 0xff } else { r.bits() as u8 }).collect();
        assert_eq!(checksum::fold(checksum::sum(0, &data)).to_be(), plain(&data), "length {n}");
    }
}

fn addresses(v6: bool) -> (SocketAddr, SocketAddr) {
    let (a, b) = if v6 { ("[fd00::1]:1", "[fd00::2]:65535") } else { ("10.1.2.3:1", "10.255.0.9:65535") };
    (a.parse().unwrap(), b.parse().unwrap())
}

#[test]
fn everything_survives_the_wire() {
    let mut r = Random(2);
    for round in 0..2000 {
        let (src, dst) = addresses(round % 2 == 0);
        let mut o =
            Options { timestamps: r.chance(700_000).then(|| (r.bits() as u32, r.bits() as u32)), ..Options::default() };
        if r.chance(300_000) {
            o.mss = Some(r.bits() as u16);
            o.window_shift = Some(r.below(15) as u8);
            o.sack_permitted = true;
        } else {
            o.sack_count = r.below(4) as u8;
            for k in 0..usize::from(o.sack_count) {
                o.sack[k] = (r.bits() as u32, r.bits() as u32);
            }
        }
        let data: Vec<u8> = (0..r.below(5000)).map(|_| r.bits() as u8).collect();
        let (head, tail) = data.split_at(r.below(data.len() as u64 + 1) as usize);
        let b = Burst {
            src,
            dst,
            seq: r.bits() as u32,
            ack: r.bits() as u32,
            flags: ACK | FIN | PSH,
            window: r.bits() as u16,
            options: o,
            ecn: 0,
            segment_size: 700 + r.below(700) as usize,
            head,
            tail,
        };
        let mut got = vec![];
        let mut buf = [0; 9000];
        for i in 0..b.count() {
            let n = b.write(i, &mut buf);
            let s = Segment::parse(&buf[..n], true).unwrap();
            assert_eq!((s.src, s.dst, s.ack, s.window, s.options), (src, dst, b.ack, b.window, o));
            assert_eq!(s.seq, b.seq.wrapping_add(got.len() as u32));
            assert_eq!(s.has(FIN), i + 1 == b.count());
            got.extend_from_slice(s.payload);
            let at = r.below(n as u64) as usize;
            buf[at] ^= 1 << r.below(8);
            let damaged = Segment::parse(&buf[..n], true);
            let header_only = at < if src.is_ipv4() { 20 } else { 40 };
            assert!(damaged.is_err() || header_only, "one flipped bit passed at {at}");
        }
        assert_eq!(got, data);
        let n = b.write_whole(&mut buf);
        assert_eq!(Segment::parse(&buf[..n], true).unwrap().payload, data);
    }
}

#[test]
fn what_is_not_a_whole_tcp_segment_is_refused() {
    let (src, dst) = addresses(false);
    let b = Burst {
        src,
        dst,
        seq: 1,
        ack: 0,
        flags: SYN,
        window: 9,
        options: Options::default(),
        ecn: 0,
        segment_size: 100,
        head: &[],
        tail: &[],
    };
    let mut p = [0; 100];
    let n = b.write(0, &mut p);
    for cut in 0..n {
        assert!(Segment::parse(&p[..cut], true).is_err());
    }
    p[6] |= 0x20;
    assert_eq!(Segment::parse(&p[..n], true).unwrap_err(), Malformed::Fragment);
    p[6] &= !0x20;
    p[9] = 17;
    assert_eq!(Segment::parse(&p[..n], true).unwrap_err(), Malformed::NotTcp);
}
