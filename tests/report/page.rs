//! The page: it needs nothing, and lets nothing run but its own script.

use super::*;

fn page() -> String {
    let scene = Scene::new();
    let decisions = [
        refused(b"/etc/shadow"),
        granted("/usr/a"),
        granted("/usr/b"),
    ];
    scene.ran("one", &decisions);
    scene.as_format("html").expect_code(0).stdout
}

#[test]
fn nothing_is_fetched_from_anywhere() {
    let page = page();
    for word in [
        "http:", "https:", "//", "url(", "@import", "src=", "href=", "<link", "<iframe",
    ] {
        // The script's own comments are the one place for two strokes.
        let found = page.match_indices(word).find(|(at, _)| {
            let line = page[..*at].rfind('\n').map_or(0, |at| at + 1);
            !page[line..*at].trim().is_empty() || !page[*at..].starts_with("// ")
        });
        assert!(found.is_none(), "{word}: {found:?}");
    }
}

/// The browser hashes what stands between the tags, to the byte.
#[test]
fn the_policy_of_the_page_names_its_own_style_and_script_and_no_other() {
    let page = page();
    let policy = page
        .split("Content-Security-Policy\" content=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a policy");
    let between = |start: &str, end: &str| {
        let from = page.find(start).expect("it begins") + start.len();
        &page[from..from + page[from..].find(end).expect("it ends")]
    };
    for (directive, text) in [
        ("style-src", between("<style>", "</style>")),
        ("script-src", between("<script>", "</script>")),
    ] {
        let digits = Digest::of(text.as_bytes()).to_string();
        let hash = base64(&digits);
        assert!(
            policy.contains(&format!("{directive} 'sha256-{hash}';")),
            "{directive}: {policy}"
        );
    }
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(
        !page.contains(" style=\""),
        "the policy forbids such attributes"
    );
    let is_handler = |rest: &str| {
        let name = rest.split('=').next().unwrap_or_default();
        rest.contains('=') && !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase())
    };
    assert!(!page.split(" on").skip(1).any(is_handler), "a handler");
}

/// Base64 of hexadecimal digits, as its definition has it.
fn base64(digits: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = digits
        .chars()
        .map(|digit| format!("{:04b}", digit.to_digit(16).expect("a digit")))
        .collect();
    let mut text = String::new();
    for from in (0..bits.len()).step_by(6) {
        let six = format!("{:0<6}", &bits[from..(from + 6).min(bits.len())]);
        let value = usize::from_str_radix(&six, 2).expect("bits");
        text.push(char::from(DIGITS[value]));
    }
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

#[test]
fn the_tree_shows_what_was_granted_and_refused_where_it_lies() {
    let page = page();
    assert!(
        page.contains("<code>etc/shadow</code> <span class=\"mark refused\">read</span>"),
        "{page}"
    );
    assert!(page.contains("<summary><code>usr</code>"), "{page}");
    assert!(
        page.contains("data-is=\"granted read\" data-text=\"/usr/a\""),
        "{page}"
    );
}

#[test]
fn by_day_and_by_night_it_has_colours_of_its_own() {
    let page = page();
    assert!(page.contains("prefers-color-scheme: dark"), "{page}");
    assert!(
        page.contains("color-scheme\" content=\"light dark\""),
        "{page}"
    );
}

#[test]
fn of_a_storm_of_decisions_a_bounded_part_is_listed_and_the_rest_is_counted() {
    let scene = Scene::new();
    let decisions = vec![refused(b"/etc/shadow"); 5000];
    scene.ran("one", &decisions);
    let page = scene.as_format("html").expect_code(0).stdout;
    assert!(page.contains("All 5000 decisions"), "it lost count");
    assert!(
        page.contains("3000 more are not on this page"),
        "it does not say so"
    );
    assert_eq!(page.matches("<tr data-is=").count(), 2001);
    assert!(page.len() < 2 << 20, "{}", page.len());
}
