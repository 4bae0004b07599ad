//! The probe's lines and its code, held against the text that specifies them.

use supervisor_protocol::probe::{
    Code, Commission, Confirm, Context, Error, Instance, MAX_LINE, MAX_NAME, Nonce, Probe, Proof,
    Ready, Secret, Side, VERSION,
};

fn secret() -> Secret {
    Secret::from([7; 32])
}

fn context() -> Context<'static> {
    Context {
        client: Nonce::from([1; 32]),
        worker: Nonce::from([2; 32]),
        instance: Instance::from([3; 16]),
        boot_id: "3f0c",
        endpoint: b"/run/w.sock",
        pidfs: 4711,
    }
}

fn hexadecimal(code: Code) -> String {
    String::from(code)
}

#[test]
fn the_code_is_hmac_sha_256_over_the_specified_bytes() {
    // Made by another implementation (Python's hmac) from the specification:
    // hmac.new(bytes([7])*32, b"supervise worker 1\0" + bytes([1])*32 + bytes([2])*32 + part(b"03"*16) + part(b"3f0c") +
    //          part(b"/run/w.sock") + struct.pack("<Q", 4711), "sha256"), part = length as <Q, then the bytes.
    assert_eq!(
        hexadecimal(secret().mac(Side::Worker, &context())),
        "673e739a3a16b23950e312c303c5693d648e9ce8fa052e7ffacd6ff8b2de1ad6"
    );
    assert_eq!(
        hexadecimal(secret().mac(Side::Client, &context())),
        "c505a29e2bacfd187b8e2ce372b090332dbc2ca98b26fd1d35e10533f0a04355"
    );
}

#[test]
fn the_code_changes_with_everything_that_it_covers() {
    let right = secret().mac(Side::Worker, &context());
    assert!(secret().verifies(Side::Worker, &context(), &right));
    let other = [
        Context {
            client: Nonce::from([9; 32]),
            ..context()
        },
        Context {
            worker: Nonce::from([9; 32]),
            ..context()
        },
        Context {
            instance: Instance::from([9; 16]),
            ..context()
        },
        Context {
            boot_id: "3f0d",
            ..context()
        },
        Context {
            endpoint: b"/run/v.sock",
            ..context()
        },
        Context {
            pidfs: 0,
            ..context()
        },
        // The same bytes with another border between them.
        Context {
            boot_id: "3f0c/",
            endpoint: b"run/w.sock",
            ..context()
        },
        Context {
            client: Nonce::from([2; 32]),
            worker: Nonce::from([1; 32]),
            ..context()
        },
    ];
    for context in other {
        assert!(
            !secret().verifies(Side::Worker, &context, &right),
            "{context:?}"
        );
    }
    assert!(
        !secret().verifies(Side::Client, &context(), &right),
        "a side answers itself"
    );
    assert!(!Secret::from([8; 32]).verifies(Side::Worker, &context(), &right));
    let mut digits = hexadecimal(right).into_bytes();
    for bit in 0..256 {
        let at = bit / 4;
        let before = digits[at];
        let value = char::from(before).to_digit(16).expect("a digit") ^ (1 << (bit % 4));
        digits[at] = char::from_digit(value, 16).expect("a digit") as u8;
        let changed = std::str::from_utf8(&digits).expect("digits");
        let changed = Code::parse(changed).expect("a code");
        assert!(
            !secret().verifies(Side::Worker, &context(), &changed),
            "bit {bit}"
        );
        digits[at] = before;
    }
}

fn proof() -> Proof {
    Proof {
        nonce: Nonce::from([2; 32]),
        service: "builder".to_owned(),
        version: "1.2".to_owned(),
        instance: Instance::from([3; 16]),
        pidfs: u64::MAX,
        mac: secret().mac(Side::Worker, &context()),
    }
}

#[test]
fn every_line_is_read_as_it_was_written() {
    let probe = Probe::new(Nonce::from([1; 32]));
    let line = probe.encode();
    let text = format!(
        "{{\"probe\":{{\"v\":1,\"nonce\":\"{}\"}}}}\n",
        "01".repeat(32)
    );
    assert_eq!(
        String::from_utf8(line.clone()).as_deref(),
        Ok(text.as_str())
    );
    assert_eq!(Probe::decode(&line), Ok(probe));

    let line = proof().encode();
    let read = Proof::decode(&line).expect("a proof");
    assert_eq!(read.encode(), line);
    assert_eq!(
        (read.service.as_str(), read.version.as_str(), read.pidfs),
        ("builder", "1.2", u64::MAX)
    );

    let line = Confirm { mac: proof().mac }.encode();
    assert_eq!(
        Confirm::decode(&line).expect("a confirmation").encode(),
        line
    );
    assert_eq!(Ready.encode(), b"{\"ready\":{}}\n");
    assert_eq!(Ready::decode(b"{\"ready\":{}}"), Ok(Ready));
}

#[test]
fn a_later_version_is_told_apart_from_garbage() {
    let nonce = "01".repeat(32);
    let later = format!("{{\"probe\":{{\"v\":2,\"nonce\":\"{nonce}\",\"more\":[1]}}}}");
    assert_eq!(
        Probe::decode(later.as_bytes()).map(|probe| probe.version),
        Ok(2)
    );
    let ours = later.replace("\"v\":2", "\"v\":1");
    assert!(matches!(
        Probe::decode(ours.as_bytes()),
        Err(Error::Malformed { .. })
    ));
    let proof = format!("{{\"proof\":{{\"v\":7,\"nonce\":\"{nonce}\",\"other\":true}}}}");
    assert_eq!(
        Proof::decode(proof.as_bytes()).expect_err("later"),
        Error::Version { theirs: 7 }
    );
    assert_eq!(VERSION, 1);
}

#[test]
fn what_is_no_such_line_is_refused() {
    let probe = String::from_utf8(Probe::new(Nonce::from([1; 32])).encode()).expect("text");
    let bad = [
        String::new(),
        "{}".to_owned(),
        "null".to_owned(),
        "{\"ready\":{}}".to_owned(),
        probe.replace("01", "0A"),
        probe.replacen("01", "1", 1),
        probe.replacen("01", "0101", 1),
        probe.replace("\"v\":1", "\"v\":-1"),
        probe.replace("\"v\":1", "\"v\":1,\"v\":1"),
        probe.replace("\"v\":1", "\"v\":1,\"x\":1"),
        format!("{}{}", probe.trim_end(), probe),
    ];
    for line in &bad {
        assert!(
            matches!(Probe::decode(line.as_bytes()), Err(Error::Malformed { .. })),
            "{line}"
        );
    }
    let padded = |length: usize| {
        format!(
            "{}{}",
            probe.trim_end(),
            " ".repeat(length - probe.len() + 1)
        )
    };
    assert!(Probe::decode(padded(MAX_LINE).as_bytes()).is_ok());
    assert_eq!(
        Probe::decode(padded(MAX_LINE + 1).as_bytes()),
        Err(Error::TooLong)
    );
    assert!(Ready::decode(b"{\"ready\":{\"x\":1}}").is_err());
    assert!(Confirm::decode(b"{\"confirm\":{}}").is_err());
    let long = Proof {
        service: "x".repeat(MAX_NAME + 1),
        ..proof()
    };
    assert!(matches!(
        Proof::decode(&long.encode()),
        Err(Error::Malformed { .. })
    ));
    let fits = Proof {
        service: "\u{1}".repeat(MAX_NAME),
        version: "\u{1}".repeat(MAX_NAME),
        ..proof()
    };
    assert!(fits.encode().len() < MAX_LINE && Proof::decode(&fits.encode()).is_ok());
}

#[test]
fn a_first_line_that_means_to_be_a_probe_is_known_as_one() {
    assert!(Probe::begins(b"{\"probe\":{\"v\":99}}\n"));
    assert!(!Probe::begins(
        b"{\"id\":1,\"req\":{\"handshake\":{\"version\":1}}}"
    ));
    assert!(!Probe::begins(b"probe"));
}

fn commission() -> Commission {
    Commission {
        secret: secret(),
        instance: Instance::from([3; 16]),
        boot_id: "3f0c".to_owned(),
        endpoint: "/run/w.sock".to_owned(),
        service: "builder".to_owned(),
        version: "1.2".to_owned(),
    }
}

#[test]
fn a_commission_is_read_as_it_was_written_and_never_quoted() {
    let line = commission().encode();
    let read = Commission::decode(&line).expect("a commission");
    assert_eq!(read.encode(), line);
    let (client, worker) = (context().client, context().worker);
    let code = read
        .secret
        .mac(Side::Worker, &read.context(client, worker, 4711));
    assert!(secret().verifies(Side::Worker, &context(), &code));
    let shown = format!("{read:?}");
    assert!(
        !shown.contains("0707") && !shown.contains("7, 7"),
        "{shown}"
    );
    let text = String::from_utf8(line).expect("text");
    let wrong = text.replace("\"boot_id\"", "\"bood_id\"");
    let error = Commission::decode(wrong.as_bytes()).expect_err("a field is missing");
    assert!(!error.to_string().contains("0707"), "{error}");
    let nowhere = text.replace("3f0c", "");
    assert!(
        Commission::decode(nowhere.as_bytes()).is_err(),
        "no boot is no boot"
    );
    let later = text.replace("\"v\":1", "\"v\":2");
    assert_eq!(
        Commission::decode(later.as_bytes()).expect_err("later"),
        Error::Version { theirs: 2 }
    );
}

#[test]
fn the_lines_are_the_specified_ones() {
    let specification = include_str!("../README.md");
    let digits = |text: &str, bytes: usize, byte: &str| {
        text.replace(&byte.repeat(bytes), &format!("<{} digits>", 2 * bytes))
    };
    let line = |encoded: Vec<u8>| {
        let text = String::from_utf8(encoded).expect("text");
        let mac = hexadecimal(proof().mac);
        let text = text.trim_end().replace(&mac, "<64 digits>");
        let text = digits(&digits(&text, 32, "01"), 32, "02");
        digits(&digits(&text, 32, "07"), 16, "03")
            .replace("builder", "…")
            .replace("1.2", "…")
            .replace("3f0c", "…")
            .replace("/run/w.sock", "/path")
    };
    let proof = Proof {
        pidfs: 0,
        ..proof()
    };
    let lines = [
        line(Probe::new(Nonce::from([1; 32])).encode()),
        line(proof.encode()),
        line(Confirm { mac: proof.mac }.encode()),
        line(Ready.encode()),
        line(commission().encode()),
    ];
    for line in lines {
        assert!(
            specification.contains(&line),
            "the specification has no {line}"
        );
    }
    assert!(specification.contains(&format!("at most {MAX_LINE} bytes")));
}

proptest::proptest! {
    #[test]
    fn whatever_is_sent_is_refused_or_is_a_line_of_the_probe(
        garbage in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        at in 0..400usize,
        byte: u8,
    ) {
        let _whether = Probe::begins(&garbage);
        proptest::prop_assert!(Proof::decode(&garbage).is_err());
        proptest::prop_assert!(Commission::decode(&garbage).is_err());
        // A line of which one byte is another is another line, or none.
        let line = proof().encode();
        let mut spoilt = line.clone();
        let at = at % line.len();
        spoilt[at] = byte;
        if let Ok(read) = Proof::decode(&spoilt) {
            let same = read.encode() == line;
            let only_space = spoilt[at].is_ascii_whitespace() && line[at].is_ascii_whitespace();
            proptest::prop_assert_eq!(same, spoilt == line || only_space);
        }
    }
}
