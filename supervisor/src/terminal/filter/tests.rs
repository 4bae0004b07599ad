use super::*;
use proptest::prelude::*;

fn passed(written: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Filter::new().pass(written, &mut out);
    out
}

#[track_caller]
fn same(written: &[u8]) {
    assert_eq!(
        passed(written).escape_ascii().to_string(),
        written.escape_ascii().to_string()
    );
}

/// Is taken away between two words that stay.
#[track_caller]
fn gone(sequence: &[u8]) {
    let written = [b"before ", sequence, b" after"].concat();
    assert_eq!(
        passed(&written).escape_ascii().to_string(),
        "before  after",
        "{}",
        sequence.escape_ascii()
    );
}

/// What full-screen programs write: vim, less, top, dialogs, compilers, prompts.
const HARMLESS: &[&[u8]] = &[
    b"text\tand\r\nlines\x08\x07\x00\x0b\x0c\x0e\x0f",
    "Gr\u{fc}\u{df}e \u{2713} \u{1f600} \u{a0}\u{10ffff}".as_bytes(),
    // Latin-1, which is no UTF-8.
    b"caf\xe9 \xfc\xc3.",
    b"\x1b[m\x1b[0;1;38;5;123m\x1b[38:2::1:2:3m\x1b[4:3mcolours\x1b[39;49m",
    b"\x1b[2J\x1b[H\x1b[10;20H\x1b[K\x1b[1K\x1b[5A\x1b[B\x1b[3C\x1b[D\x1b[4d\x1b[7G\x1b[2L\x1b[M\x1b[@\x1b[P\x1b[X\x1b[3;20r\x1b[S\x1b[2T",
    b"\x1b7\x1b8\x1bD\x1bM\x1bE\x1bH\x1b=\x1b>\x1bc\x1b(B\x1b)0\x1b(%5\x1b#8\x1b[!p\x1b[g\x1b[s\x1b[u\x1b[4h\x1b[4l\x1b[20b",
    b"\x1b[?1049h\x1b[?1h\x1b[?25l\x1b[?2004h\x1b[?1000;1006h\x1b[?1002h\x1b[?1004h\x1b[?7l\x1b[?12l\x1b[?2026h\x1b[?2026l",
    b"\x1b[?1000;1006l\x1b[?25h\x1b[?1049l\x1b[?1r\x1b[?1s\x1b[?J\x1b[2 q\x1b[22;0;0t\x1b[23;0;0t",
    b"\x1b]8;;https://example.org/a?b\x1b\\link\x1b]8;;\x07",
    b"\x1b]4;1;rgb:11/22/33\x07\x1b]11;#123456\x1b\\\x1b]110\x07\x1b]104;1\x07",
    b"\x9b31m\xc2\x9b0m\x9d8;;x\x07\x84\xc2\x85",
];

/// What answers, what takes or gives to the clipboard, what names, what programs keys, what prints, and what leaves a terminal deaf.
const HARMFUL: &[&[u8]] = &[
    b"\x05",
    b"\x1b[5n",
    b"\x1b[6n",
    b"\x1b[?6n",
    b"\x1b[?26n",
    b"\x1b[c",
    b"\x1b[0c",
    b"\x1b[>c",
    b"\x1b[=c",
    b"\x1b[>q",
    b"\x1b[x",
    b"\x1b[1x",
    b"\x1b[?1$p",
    b"\x1b[4$p",
    b"\x1b[?u",
    b"\x1b[>1u",
    b"\x1b[<u",
    b"\x1b[=1;1u",
    b"\x1b[>4;2m",
    b"\x1b[?4m",
    b"\x1b[1;1;1;1;1;1*y",
    b"\x1b[?1;1;0S",
    b"\x1b[21t",
    b"\x1b[20t",
    b"\x1b[11t",
    b"\x1b[18t",
    b"\x1b[8;10;10t",
    b"\x1b[2t",
    b"\x1b[t",
    b"\x1b[2h",
    b"\x1b[12h",
    b"\x1b[i",
    b"\x1b[5i",
    b"\x1b[?5i",
    b"\x1b[?2031h",
    b"\x1b[?2048h",
    b"\x1b[?25;2048h",
    b"\x1b[?5522h",
    b"\x1b[1;2;3;4;5T",
    b"\x1b[62;1\"p",
    b"\x1bZ",
    b"\x1b G",
    b"\x1b%@",
    b"\x1b[?1:2h",
    b"\x1b[99999h",
    b"\x1b[1?h",
    b"\x1b]52;c;aGFybQ==\x07",
    b"\x1b]52;c;?\x1b\\",
    b"\x1b]0;title\x07",
    b"\x1b]2;title\x1b\\",
    b"\x1b]1;icon\x07",
    b"\x1b]l\x1b\\",
    b"\x1b];\x07",
    b"\x1b]\x07",
    b"\x1b]7;file:///\x07",
    b"\x1b]9;note\x07",
    b"\x1b]777;notify;a;b\x07",
    b"\x1b]1337;Copy=:aGFybQ==\x07",
    b"\x1b]50;?\x07",
    b"\x1b]4;1;?\x07",
    b"\x1b]10;?\x07",
    b"\x1b]11;?\x1b\\",
    b"\x1b]10;#123;?\x07",
    b"\x1b]633;E;rm\x07",
    b"\x1b]99;;x\x1b\\",
    b"\x1b]P1234567",
    b"\x1b]R",
    b"\x1b]8;;http://x/\xff\x07",
    "\x1b]0;\u{2733} a title of a program\x07".as_bytes(),
    b"\x1bP$qm\x1b\\",
    b"\x1bP+q544e\x1b\\",
    b"\x1bP0;1|17/68\x1b\\",
    b"\x1bPtmux;\x1b\x1b]52;c;aGFybQ==\x07\x1b\\",
    "\x1bP\u{2733}\x1b\\".as_bytes(),
    b"\x1bPq#0;2;0;0;0\x1b\\",
    b"\x1b_Gi=1,a=q;\x1b\\",
    b"\x1b^private\x1b\\",
    b"\x1bXstring\x1b\\",
    b"\x1bktitle\x1b\\",
    // What terminals were once attacked by: graphics that are answered with a line's end (rxvt), files that are written (Eterm, xterm),
    // keys that type (ANSI.SYS, VT320), consoles that are set up (Linux), settings that are read back (DECRQSS), remote control (kitty),
    // a multiplexer that takes over (iTerm2), other languages (VT52), fonts.
    b"\x1bG",
    b"\x1b]55;/tmp/file\x07",
    b"\x1b]46;/tmp/file\x07",
    b"\x1b[?1i",
    b"\x1b[0;68;114p",
    b"\x1b[10;100]",
    b"\x1b[9;0]",
    b"\x1b[7n",
    b"\x1bP$q\"p\x1b\\",
    b"\x1bP@kitty-cmd{\"cmd\":\"ls\"}\x1b\\",
    b"\x1bP1000p\x1b\\",
    b"\x1b]1337;File=inline=0:aGFybQ==\x07",
    b"\x1b]5113;ac=send\x1b\\",
    b"\x1b]3;?\x07",
    b"\x1b]22;?__current__\x07",
    b"\x1b]50;name\x07",
    b"\x1bP1;1;1{ @font\x1b\\",
    b"\x1b[?2l",
    b"\x1b[?40h",
    // Each with an introducer and an end in eight bits.
    b"\x9b6n",
    b"\xc2\x9b6n",
    b"\x9d52;c;aGFybQ==\x9c",
    b"\xc2\x9d52;c;aGFybQ==\xc2\x9c",
    b"\x90$qm\x9c",
    b"\xc2\x90$qm\xc2\x9c",
    b"\x9f\xe2\x9c\xb3Gi=1\xc2\x9c",
    b"\x9a",
    b"\xc2\x9a",
    // An end of nothing.
    b"\x1b\\",
    b"\x9c",
    // A character in more bytes than it needs is none: what looks like its end is a control.
    b"\x9b\x1b[6n",
    // Cut off in the middle.
    b"\x1b[6\x18",
    b"\x1b]52;c;\x1a",
    b"\x1bP$q\x18",
    b"\x1b\x1b[6n",
];

#[test]
fn what_is_harmless_passes_byte_for_byte() {
    for written in HARMLESS {
        same(written);
    }
    same(&HARMLESS.concat());
}

#[test]
fn what_answers_or_reaches_beyond_the_screen_is_gone() {
    for sequence in HARMFUL {
        gone(sequence);
    }
}

#[test]
fn controls_in_the_middle_of_characters_are_none() {
    // Their last bytes are 9b, 9d, 90 and 9c.
    let text = "\u{e5b}6n \u{e5d}52;c;x \u{10d0}$qm \u{201c}";
    assert!(text.as_bytes().contains(&0x9b));
    same(text.as_bytes());
    // Behind what is no character they are some.
    assert_eq!(passed(b"\xe2\x9b6n."), b"\xe2.");
    assert_eq!(passed(b"\xe0\x82\x9b6n."), b"\xe0.");
    assert_eq!(passed(b"\xc0\x9b6n."), b"\xc0.");
    assert_eq!(passed(b"\xed\xa0\x9b6n."), b"\xed\xa0.");
    assert_eq!(passed(b"\xf0\x82\x82\x9b6n."), b"\xf0.");
}

#[test]
fn controls_in_the_middle_of_a_sequence_come_first() {
    assert_eq!(passed(b"\x1b[3\n1m."), b"\n\x1b[31m.");
    assert_eq!(passed(b"\x1b[6\x05\rn."), b"\r.");
}

#[test]
fn a_sequence_that_another_cuts_off_takes_nothing_with_it() {
    assert_eq!(passed(b"\x1b]52;c;aGFy\x1b[31mred"), b"\x1b[31mred");
    assert_eq!(passed(b"\x1bPq\x1b[31mred"), b"\x1b[31mred");
    assert_eq!(passed("\x1b[6\u{e9}n".as_bytes()), "\u{e9}n".as_bytes());
}

#[test]
fn nothing_is_held_without_bounds() {
    for begin in [
        &b"\x1bP"[..],
        b"\x1b_",
        b"\x1b]52;",
        b"\x1b]8;;",
        b"\x1b[",
        b"\x1b(",
        b"\x90",
        b"\xc2\x9d8;",
    ] {
        let mut filter = Filter::new();
        let mut out = Vec::new();
        filter.pass(begin, &mut out);
        for _ in 0..1000 {
            filter.pass(&[b'!'; 1000], &mut out);
            filter.pass(&[b'1'; 1000], &mut out);
        }
        assert!(out.len() <= 2_000_000);
        let most = 2 * LONGEST_COMMAND;
        assert!(filter.held.capacity() <= most, "{}", begin.escape_ascii());
        assert!(filter.character.capacity() <= 8);
        // And it finds its way back.
        filter.pass(b"\x18\x1b\\text", &mut out);
        assert!(out.ends_with(b"text"));
    }
}

#[test]
fn modes_that_are_left_are_put_right() {
    let left = |written: &[u8]| {
        let mut filter = Filter::new();
        filter.pass(written, &mut Vec::new());
        filter.end()
    };
    assert_eq!(
        left(b"\x1b[?1000;1006h\x1b[?25l"),
        b"\x1b[?25h\x1b[?1000l\x1b[?1006l"
    );
    assert_eq!(
        left(b"\x1b[?1000h\x1b[?1000l\x1b[?25l\x1b[?25h\x1b[?12h"),
        b""
    );
    assert_eq!(
        left(b"\x1b[?1049h\x1b[?1004;2004h"),
        b"\x1b[?1004l\x1b[?2004l\x1b[?1049l"
    );
    assert_eq!(left(b"\x1b[?1003r\x1b[?7r"), b"\x1b[?7h\x1b[?1003l");
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let known = HARMLESS.iter().chain(HARMFUL).copied().collect::<Vec<_>>();
    let known = proptest::sample::select(known).prop_map(<[u8]>::to_vec);
    let controls =
        proptest::sample::select(&b"\x1b[]P_k\\\x07\x18\x9b\x9c\x9d\x90\xc2\xe2;?0n5m\x05"[..]);
    let controls = proptest::collection::vec(controls, 0..12);
    let any = proptest::collection::vec(any::<u8>(), 0..12);
    proptest::collection::vec(prop_oneof![known, controls, any], 0..12)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn how_it_is_cut_makes_no_difference(written in pieces(), cuts in proptest::collection::vec(1usize..7, 1..40)) {
        let mut filter = Filter::new();
        let mut out = Vec::new();
        let mut rest = &written[..];
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (piece, more) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            filter.pass(piece, &mut out);
            rest = more;
        }
        prop_assert_eq!(out, passed(&written));
    }

    #[test]
    fn what_has_passed_passes_again(written in pieces()) {
        let once = passed(&written);
        let mut again = Vec::new();
        let mut filter = Filter::new();
        filter.pass(&once, &mut again);
        // A character that was cut off at the end waits for its rest.
        again.append(&mut filter.character);
        prop_assert_eq!(again, once);
        prop_assert_eq!(filter.state, State::Ground);
    }
}
