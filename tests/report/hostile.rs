//! Names that want to be more than names.

use super::*;
use serde_json::Value;

/// What somebody in a sandbox may call a file.
const NAMES: [&[u8]; 10] = [
    b"/x</script><script>alert(1)</script>",
    b"/\"><img src=x onerror=alert(1)>",
    b"/a\x1b[2J\x1b]52;c;eA==\x07\x00b",
    b"/line\n::error::forged\r\n## heading",
    "/turned\u{202e}txt.exe\u{2066}\u{200b}".as_bytes(),
    b"/no\xff\xfetext\x9b",
    "/no\u{ffff}xml\u{fffe}]]>".as_bytes(),
    b"/a|b`c`[d](javascript:e)<!-- @all ![f](http://g/h) www.i.example *j* _k_",
    b"/{0} ${{ secrets.TOKEN }} $(reboot) %0A::stop-commands::x",
    b"/' style='x' class='record whole",
];

fn scene() -> Scene {
    let scene = Scene::new();
    let mut decisions: Vec<_> = NAMES.iter().map(|name| refused(name)).collect();
    for name in NAMES {
        let mut telling = granted("/data");
        telling.asked = Some(Bytes(name));
        telling.why = Some(Bytes(name));
        telling.who.exe = Some(Bytes(name));
        decisions.push(telling);
    }
    scene.ran("one", &decisions);
    scene
}

/// Whether a character can be told from what is around it.
fn is_plain(character: char) -> bool {
    let hidden = ['\u{202e}', '\u{2066}', '\u{200b}', '\u{fffe}', '\u{ffff}'];
    character == '\n' || !(character.is_control() || hidden.contains(&character))
}

#[test]
fn no_format_lets_through_what_cannot_be_seen() {
    let scene = scene();
    for format in FORMATS {
        let said = scene.as_format(format).expect_code(0).stdout;
        // JSON may have what XML may not.
        let is_fine =
            |c: char| is_plain(c) || (!matches!(format, "html" | "junit") && c >= '\u{fffe}');
        let bad: Vec<char> = said.chars().filter(|c| !is_fine(*c)).collect();
        assert!(bad.is_empty(), "{format}: {bad:?}");
    }
}

#[test]
fn json_gives_the_bytes_back() {
    use base64_of_the_test as decode;
    let said = scene().as_format("json").expect_code(0).stdout;
    let report: Value = serde_json::from_str(&said).expect("JSON");
    let decisions = report["runs"][0]["decisions"].as_array().expect("a list");
    for (name, decision) in NAMES.iter().zip(decisions) {
        let path = &decision["path"];
        let bytes = match path.as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => decode(path["b64"].as_str().expect("bytes")),
        };
        assert_eq!(bytes, *name);
    }
}

/// Base64, read as its definition has it.
fn base64_of_the_test(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text
        .bytes()
        .filter_map(|c| DIGITS.iter().position(|digit| *digit == c));
    let mut bits = 0u32;
    let mut count = 0;
    let mut bytes = Vec::new();
    for digit in digits {
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn a_page_has_just_the_elements_that_are_ours() {
    let tags = |page: &str| {
        let mut names: Vec<String> = page
            .split('<')
            .skip(1)
            .map(|rest| {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '/' && c != '!');
                rest[..end.unwrap_or(rest.len())].to_owned()
            })
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let tame = Scene::new();
    tame.ran("one", &[refused(b"/a"), granted("/b/c"), granted("/b/d")]);
    let tame = tame.as_format("html").expect_code(0).stdout;
    let hostile = scene().as_format("html").expect_code(0).stdout;
    assert_eq!(tags(&hostile), tags(&tame));
    assert_eq!(hostile.matches("<script").count(), 1);
    assert_eq!(hostile.matches("</script").count(), 1);
    assert!(
        !hostile.contains("onerror=alert(1)>"),
        "an attribute got out"
    );
}

#[test]
fn xml_has_just_the_elements_that_are_ours() {
    let said = scene().as_format("junit").expect_code(0).stdout;
    let ours = ["?xml", "testsuites", "testsuite", "testcase", "failure"];
    for tag in said.split('<').skip(1) {
        let end = tag.find([' ', '>', '/']).unwrap_or(tag.len());
        let name = tag[..end].trim_start_matches('/');
        assert!(name.is_empty() || ours.contains(&name), "{tag}");
    }
    assert!(!said.contains("]]>"), "{said}");
}

#[test]
fn no_name_begins_a_command_of_the_workflow() {
    let said = scene().as_format("github").expect_code(0).stdout;
    for line in said.lines() {
        let ours = ["::warning title=refused::", "::notice title=supervise::"];
        assert!(ours.iter().any(|begin| line.starts_with(begin)), "{line}");
    }
    for format in ["text", "markdown"] {
        let said = scene().as_format(format).expect_code(0).stdout;
        let begins = |line: &str| line.trim_start().starts_with("::");
        assert!(!said.lines().any(begins), "{format}: {said}");
    }
}

#[test]
fn no_name_means_anything_in_markdown() {
    let said = scene().as_format("markdown").expect_code(0).stdout;
    for line in said.lines().filter(|line| line.starts_with("| read")) {
        assert_eq!(line.matches('|').count(), 6, "{line}");
        let rest = line
            .replace("<code>", "")
            .replace("</code>", "")
            .replace('|', "");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || " /,&#;".contains(c) || !c.is_ascii();
        assert!(rest.chars().all(is_plain), "{line}");
    }
}

#[test]
fn a_message_of_sarif_links_to_nothing() {
    let said = scene().as_format("sarif").expect_code(0).stdout;
    let log: Value = serde_json::from_str(&said).expect("JSON");
    for result in log["runs"][0]["results"].as_array().expect("a list") {
        let text = result["message"]["text"].as_str().expect("text");
        let unescaped = text
            .replace("\\\\", "")
            .replace("\\[", "")
            .replace("\\]", "");
        assert!(!unescaped.contains(['[', ']']), "{text}");
        assert!(!text.replace("{{", "").contains('{'), "{text}");
    }
}
