//! Frame streams towards a collector (<https://farsightsec.github.io/fstrm>): the handshake in both
//! directions, data, and the farewell.
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::message::CONTENT_TYPE;

const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;
/// `FSTRM_CONTROL_FIELD_CONTENT_TYPE`.
const FIELD_CONTENT_TYPE: u32 = 1;
/// Octets of the largest control frame.
const CONTROL_OCTETS_MAX: u32 = 512;

/// Longest wait for a connection, an answer, or room to write; CoreDNS's.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);
/// Longest wait for the other side's farewell.
const FAREWELL: Duration = Duration::from_secs(1);

/// Anything that octets go through.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A connection that takes data frames.
pub(crate) struct FrameStream(Box<dyn Wire>);

impl FrameStream {
    /// Introduces itself: READY, the collector's ACCEPT, START.
    pub(crate) async fn open(wire: impl Wire + 'static) -> io::Result<Self> {
        let mut stream = Self(Box::new(wire));
        let greet = async {
            stream.control(READY).await?;
            stream.expect(ACCEPT).await?;
            stream.control(START).await
        };
        timeout(PATIENCE, greet).await??;
        Ok(stream)
    }

    /// Sends frames that are whole.
    pub(crate) async fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, async {
            self.0.write_all(frames).await?;
            self.0.flush().await
        })
        .await?
    }

    /// Returns when the other side has gone; it has nothing to say meanwhile.
    pub(crate) async fn gone(&mut self) {
        let mut octets = [0; 64];
        while self.0.read(&mut octets).await.is_ok_and(|count| count > 0) {}
    }

    /// Says farewell: STOP, the collector's FINISH. One that does not answer is left alone.
    pub(crate) async fn close(mut self) {
        let farewell = async {
            self.control(STOP).await?;
            self.expect(FINISH).await?;
            self.0.shutdown().await
        };
        let _ = timeout(FAREWELL, farewell).await;
    }

    async fn control(&mut self, kind: u32) -> io::Result<()> {
        let mut frame = Vec::with_capacity(48);
        frame.extend_from_slice(&kind.to_be_bytes());
        if kind != STOP {
            frame.extend_from_slice(&FIELD_CONTENT_TYPE.to_be_bytes());
            frame.extend_from_slice(&(CONTENT_TYPE.len() as u32).to_be_bytes());
            frame.extend_from_slice(CONTENT_TYPE);
        }
        let mut octets = vec![0; 4];
        octets.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        octets.extend_from_slice(&frame);
        self.0.write_all(&octets).await?;
        self.0.flush().await
    }

    async fn expect(&mut self, kind: u32) -> io::Result<()> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        if self.0.read_u32().await? != 0 {
            return Err(wrong(
                "the other side sends data instead of a control frame",
            ));
        }
        let length = self.0.read_u32().await?;
        if !(4..=CONTROL_OCTETS_MAX).contains(&length) {
            return Err(wrong("a control frame of an impossible length"));
        }
        let mut frame = vec![0; length as usize];
        self.0.read_exact(&mut frame).await?;
        let Some((found, fields)) = frame.split_first_chunk::<4>() else {
            return Err(wrong("a control frame without a type"));
        };
        if u32::from_be_bytes(*found) != kind {
            return Err(wrong("another control frame than the one that is due"));
        }
        match kind == ACCEPT && !accepts(fields) {
            true => Err(wrong("the collector does not take dnstap")),
            false => Ok(()),
        }
    }
}

/// Whether the fields of ACCEPT name our content type; none at all means any.
fn accepts(mut fields: &[u8]) -> bool {
    let mut named = false;
    while let Some((kind, rest)) = fields.split_first_chunk::<4>() {
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            return false;
        };
        let Some((value, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)
        else {
            return false;
        };
        if u32::from_be_bytes(*kind) == FIELD_CONTENT_TYPE {
            if value == CONTENT_TYPE {
                return true;
            }
            named = true;
        }
        fields = rest;
    }
    !named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(value: &[u8]) -> Vec<u8> {
        [
            &1u32.to_be_bytes()[..],
            &(value.len() as u32).to_be_bytes(),
            value,
        ]
        .concat()
    }

    #[test]
    fn content_types_are_compared() {
        assert!(accepts(b""));
        assert!(accepts(&field(CONTENT_TYPE)));
        assert!(accepts(&[field(b"other"), field(CONTENT_TYPE)].concat()));
        assert!(!accepts(&field(b"other")));
        assert!(!accepts(&field(b"other")[..9]));
    }

    #[tokio::test]
    async fn a_stream_is_opened_used_and_closed() {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let collector = tokio::spawn(async move {
            let ready_octets = 8 + 4 + 8 + CONTENT_TYPE.len();
            let mut ready = vec![0; ready_octets];
            theirs.read_exact(&mut ready).await.unwrap();
            assert_eq!(ready[8..12], READY.to_be_bytes());
            ready[11] = ACCEPT as u8;
            theirs.write_all(&ready).await.unwrap();
            let mut start = vec![0; ready_octets + 5];
            theirs.read_exact(&mut start).await.unwrap();
            assert_eq!(start[8..12], START.to_be_bytes());
            assert_eq!(&start[ready_octets..], b"\0\0\0\x01x");
            let mut stop = [0; 12];
            theirs.read_exact(&mut stop).await.unwrap();
            assert_eq!(stop, *b"\0\0\0\0\0\0\0\x04\0\0\0\x03");
            theirs
                .write_all(b"\0\0\0\0\0\0\0\x04\0\0\0\x05")
                .await
                .unwrap();
            let mut rest = Vec::new();
            theirs.read_to_end(&mut rest).await.unwrap();
            rest
        });
        let mut stream = FrameStream::open(ours).await.unwrap();
        stream.send(b"\0\0\0\x01x").await.unwrap();
        stream.close().await;
        assert!(collector.await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_no_collector_is_refused() {
        for said in [
            &b"\0\0\0\x01x"[..],
            b"\0\0\0\0\xff\xff\xff\xff",
            b"\0\0\0\0\0\0\0\x04\0\0\0\x05",
            b"",
        ] {
            let (ours, mut theirs) = tokio::io::duplex(4096);
            theirs.write_all(said).await.unwrap();
            theirs.shutdown().await.unwrap();
            assert!(FrameStream::open(ours).await.is_err(), "{said:?}");
        }
    }
}
