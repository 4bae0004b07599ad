//! What a question can be answered with here, which is what `supervise approve` and `supervise refuse` can say, and never more than
//! its rule lets anybody say.

use super::text;
use protocol::Scope;
use protocol::control::{ControlRequest, Question};
use std::path::Path;
use supervisor::advice::sensitive::{self, Secret};

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The key that gives it.
    pub key: char,
    /// What it means.
    pub meaning: String,
    /// What is then said.
    pub request: ControlRequest,
}

impl Offer {
    /// Whether it lets something happen.
    pub fn is_yes(&self) -> bool {
        matches!(self.request, ControlRequest::Approve { .. })
    }
}

/// All answers to a question.
pub fn offers(question: &Question) -> Vec<Offer> {
    let yes = |key, meaning: &str, scope, for_session| Offer {
        key,
        meaning: meaning.to_owned(),
        request: ControlRequest::Approve {
            question: question.question,
            remember_ms: None,
            for_session,
            scope,
        },
    };
    let no = |key, meaning: &str, for_session| Offer {
        key,
        meaning: meaning.to_owned(),
        request: ControlRequest::Refuse {
            question: question.question,
            for_session,
        },
    };
    let ruled = question.scope.unwrap_or(Scope::Once);
    let most = question.at_most.unwrap_or(ruled);
    let mut offers = Vec::new();
    match ruled {
        Scope::Once => offers.push(yes('a', "yes, this once", None, false)),
        scope => {
            let time = question.holds_ms;
            let time = time.map(|holds| format!("for {} s, ", holds / 1000));
            let meaning = format!("yes, {}for {}", time.unwrap_or_default(), whom(scope));
            offers.push(yes('a', &meaning, None, false));
            offers.push(yes('o', "this once", Some(Scope::Once), false));
        }
    }
    let longer = [
        ('p', Scope::Process, Some(Scope::Process)),
        ('s', Scope::Subtree, Some(Scope::Subtree)),
        // Of whoever else there is, that is all.
        ('r', Scope::Session, None),
    ];
    for (key, scope, said) in longer {
        if scope <= most && scope != ruled {
            offers.push(yes(
                key,
                &format!("for {}", whom(scope)),
                said,
                said.is_none(),
            ));
        }
    }
    offers.push(no('n', "no", false));
    offers.push(no('N', "never, while it runs", true));
    offers
}

/// For whom a yes speaks.
fn whom(scope: Scope) -> &'static str {
    match scope {
        Scope::Once => "this once",
        Scope::Process => "this process",
        Scope::Subtree => "this process and what it starts",
        Scope::Session => "all of it, while it runs",
    }
}

/// What has to be typed before this can be allowed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensitive {
    /// The last part of the name, as it is shown.
    pub name: String,
    /// Why.
    pub secret: Secret,
}

/// Whether what a question is about is sensitive, under the one name or the other.
pub fn sensitive(question: &Question, home: &Path) -> Option<Sensitive> {
    let names = [Some(&question.object), question.to.as_ref()];
    names.into_iter().flatten().find_map(|name| {
        let path = Path::new(name);
        let secret = sensitive::of(path, Some(home))?;
        let last = path.file_name().unwrap_or(path.as_os_str());
        Some(Sensitive {
            name: text::plain(&last.to_string_lossy()),
            secret,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::question;
    use super::*;

    fn keys(scope: Option<Scope>, at_most: Option<Scope>) -> String {
        let question = Question {
            scope,
            at_most,
            ..question(1, "/a")
        };
        offers(&question).iter().map(|offer| offer.key).collect()
    }

    #[test]
    fn nothing_is_offered_that_the_rule_does_not_let_anybody_say() {
        use Scope::*;
        assert_eq!(keys(Some(Once), None), "anN");
        // A daemon that does not say.
        assert_eq!(keys(None, None), "anN");
        assert_eq!(keys(Some(Once), Some(Session)), "apsrnN");
        assert_eq!(keys(Some(Once), Some(Process)), "apnN");
        assert_eq!(keys(Some(Subtree), Some(Subtree)), "aopnN");
        assert_eq!(keys(Some(Session), Some(Session)), "aopsnN");
        assert_eq!(keys(Some(Process), Some(Process)), "aonN");
    }

    #[test]
    fn each_says_what_the_plain_command_would() {
        let question = Question {
            scope: Some(Scope::Session),
            holds_ms: Some(600_000),
            at_most: Some(Scope::Session),
            ..question(7, "/a")
        };
        let said = offers(&question);
        let said: Vec<String> = said
            .iter()
            .map(|offer| serde_json::json!(offer.request).to_string())
            .collect();
        assert_eq!(
            said,
            [
                r#"{"approve":{"question":7}}"#,
                r#"{"approve":{"question":7,"scope":"once"}}"#,
                r#"{"approve":{"question":7,"scope":"process"}}"#,
                r#"{"approve":{"question":7,"scope":"subtree"}}"#,
                r#"{"refuse":{"question":7}}"#,
                r#"{"refuse":{"for_session":true,"question":7}}"#,
            ]
        );
    }

    #[test]
    fn keys_are_sensitive_under_either_name() {
        let home = Path::new("/home/u");
        let of = |object: &str, to: Option<&str>| {
            let question = Question {
                to: to.map(str::to_owned),
                ..question(1, object)
            };
            sensitive(&question, home).map(|found| found.name)
        };
        assert_eq!(of("/home/u/.ssh/id_rsa", None), Some("id_rsa".to_owned()));
        assert_eq!(
            of("/home/u/x", Some("/home/u/.netrc")),
            Some(".netrc".to_owned())
        );
        assert_eq!(of("/home/u/x", Some("/home/u/y")), None);
        assert_eq!(
            of("/home/u/.ssh/a\u{202e}b", None),
            Some("a\\u{202e}b".to_owned())
        );
    }
}
