//! What a client may cost, and for how long.
use super::*;

#[test]
fn streams_bodies_and_fields_are_bounded() {
    let mut talk = Talk::new();
    for at in 0..4 {
        assert_eq!(
            talk.say(&frame(kind::HEADERS, 4, 2 * at + 1, &post(&[]))),
            End::Open
        );
    }
    let fifth = talk.say(&frame(kind::HEADERS, BOTH, 9, &post(&[])));
    assert_eq!(fifth, End::Reset(9, Reason::RefusedStream));
    // A body that is too long is handed out without it; what comes behind is no mistake.
    talk.say(&frame(kind::DATA, 0, 1, &[0; 101]));
    let (stream, request) = talk.requests.pop().unwrap();
    assert_eq!((stream, request.problem), (1, Some(Problem::BodyTooLarge)));
    assert!(request.body.is_empty());
    talk.session
        .respond(1, &[0x88], b"no", None, talk.now, &mut talk.out);
    assert_eq!(talk.say(&frame(kind::DATA, 1, 1, &[0; 101])), End::Open);
    talk.say(&frame(
        kind::HEADERS,
        BOTH,
        11,
        &post(&[("a", &"b".repeat(1000))]),
    ));
    let (_, request) = talk.requests.pop().unwrap();
    assert_eq!(request.problem, Some(Problem::HeadersTooLarge));
    // Those that never end are answered as late.
    let timeouts = Timeouts {
        request: Duration::from_secs(3),
        response: Duration::from_secs(5),
    };
    let later = talk.now + Duration::from_secs(3);
    let (stream, request) = talk
        .session
        .expire(later, &timeouts, &mut talk.out)
        .unwrap()
        .unwrap();
    assert!([3, 5, 7].contains(&stream), "{stream}");
    assert_eq!(request.problem, Some(Problem::Late));
}

#[test]
fn responses_wait_for_room_and_not_for_ever() {
    let mut talk = Talk::new();
    talk.say(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 4]));
    talk.say(&frame(kind::HEADERS, BOTH, 1, &post(&[])));
    talk.say(&frame(kind::HEADERS, BOTH, 3, &post(&[])));
    talk.written();
    talk.session.respond(
        1,
        &[0x88],
        b"0123456789",
        Some(&[0x88]),
        talk.now,
        &mut talk.out,
    );
    talk.session
        .respond(3, &[0x88], b"", Some(&[0x88]), talk.now, &mut talk.out);
    assert_eq!(
        talk.written(),
        [
            (kind::HEADERS, 1),
            (kind::DATA, 4),
            (kind::HEADERS, 1),
            (kind::HEADERS, 1)
        ]
    );
    talk.say(&frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 2]));
    assert_eq!(talk.written(), [(kind::DATA, 2)]);
    let timeouts = Timeouts {
        request: Duration::from_secs(3),
        response: Duration::from_secs(5),
    };
    let now = talk.now;
    let at = |seconds| now + Duration::from_secs(seconds);
    assert!(
        talk.session
            .expire(at(4), &timeouts, &mut talk.out)
            .unwrap()
            .is_none()
    );
    let end = talk.session.expire(at(5), &timeouts, &mut talk.out);
    assert_eq!(end.unwrap_err(), Fatal(Reason::EnhanceYourCalm));
    // Windows may be below zero for a while (RFC 9113 section 6.9.2).
    talk.out.clear();
    talk.say(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    assert_eq!(talk.written(), [(kind::SETTINGS, 0)]);
    talk.say(&frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 8]));
    assert_eq!(talk.written(), [(kind::DATA, 4), (kind::HEADERS, 1)]);
}

#[test]
fn bodies_that_are_given_up_make_room() {
    const FIRST: u32 = 5;
    let mut talk = Talk::new();
    // All that may be under way, in bodies without an end, and in padding.
    let mut sent = 0;
    for at in 0..4 {
        talk.say(&frame(kind::HEADERS, 4, FIRST + 2 * at, &post(&[])));
    }
    let padded = [&[255][..], &[0; 255]].concat();
    while sent + padded.len() as u32 <= WINDOW {
        let stream = FIRST + 2 * (sent % 4);
        assert_eq!(talk.say(&frame(kind::DATA, 8, stream, &padded)), End::Open);
        talk.session.calm.earn();
        sent += padded.len() as u32;
    }
    talk.written();
    let timeouts = Timeouts {
        request: Duration::from_secs(3),
        response: Duration::from_secs(5),
    };
    let later = talk.now + Duration::from_secs(3);
    let late = talk.session.expire(later, &timeouts, &mut talk.out);
    assert!(late.unwrap().is_some());
    assert_eq!(talk.written(), [(kind::WINDOW_UPDATE, 4)], "given up");
}

#[test]
fn a_mistake_of_a_stream_makes_room() {
    let mut talk = Talk::new();
    talk.say(&frame(
        kind::HEADERS,
        4,
        1,
        &post(&[("content-length", "1")]),
    ));
    talk.session.received = WINDOW / 2;
    talk.written();
    let end = talk.say(&frame(kind::DATA, 0, 1, &[0; 2]));
    assert_eq!(end, End::Reset(1, Reason::ProtocolError));
    assert_eq!(
        talk.written(),
        [(kind::RST_STREAM, 4), (kind::WINDOW_UPDATE, 4)]
    );
}

#[test]
fn blocks_on_a_stream_that_was_reset_are_a_nuisance() {
    let mut talk = Talk::new();
    talk.say(&frame(
        kind::HEADERS,
        4,
        1,
        &post(&[("content-length", "1")]),
    ));
    let end = talk.say(&frame(kind::DATA, 0, 1, &[0; 2]));
    assert_eq!(end, End::Reset(1, Reason::ProtocolError));
    let ended = (0..1000)
        .map(|_| talk.say(&frame(kind::HEADERS, BOTH, 1, &[])))
        .find(|end| *end != End::Open);
    assert_eq!(ended, Some(End::Over(Reason::EnhanceYourCalm)));
}
