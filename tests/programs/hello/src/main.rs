//! Prints a greeting in the language that the first argument names.

include!(concat!(env!("OUT_DIR"), "/words.rs"));

fn main() {
    let language = std::env::args().nth(1).unwrap_or_else(|| "en".to_owned());
    match greeting::find(WORDS, &language) {
        Some(word) => println!("{word}, world"),
        None => std::process::exit(1),
    }
}

#[test]
fn every_language_greets() {
    assert_eq!(greeting::find(WORDS, "fr"), Some("Bonjour"));
}
