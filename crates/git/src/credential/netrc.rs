//! Logins from `~/.netrc`, where curl, and so git, looks before anybody is asked.

use std::{iter::Peekable, path::Path, str::Chars};

/// Files that are larger are not meant.
const LARGEST_BYTES: u64 = 1 << 20;

/// The user and password in the file at `path` for `host`; of `user`, where one is named. A file that cannot be read has
/// none.
pub(super) fn find(path: &Path, host: &str, user: Option<&str>) -> Option<(String, String)> {
    let is_small = std::fs::metadata(path).is_ok_and(|file| file.len() <= LARGEST_BYTES);
    let text = is_small.then(|| std::fs::read_to_string(path).ok()).flatten()?;
    find_in(&text, host, user)
}

fn find_in(text: &str, host: &str, wanted: Option<&str>) -> Option<(String, String)> {
    let mut rest = text.chars().peekable();
    let (mut applies, mut login, mut password) = (false, None, None);
    loop {
        let token = next_token(&mut rest);
        if matches!(token.as_deref(), None | Some("machine" | "default")) {
            // Taken whether they serve or not: they are not for the next entry.
            let (user, password) = (login.take(), password.take());
            let user = user.or_else(|| wanted.map(str::to_owned));
            let user = user.filter(|user| applies && wanted.is_none_or(|wanted| wanted == user));
            if let Some(found) = user.zip(password) {
                return Some(found);
            }
        }
        match token?.as_str() {
            "machine" => applies = next_token(&mut rest)?.eq_ignore_ascii_case(host),
            "default" => applies = true,
            "login" => login = next_token(&mut rest),
            "password" => password = next_token(&mut rest),
            "account" => drop(next_token(&mut rest)),
            "macdef" => skip_macro(&mut rest),
            _ => continue,
        }
    }
}

/// The next word, perhaps in quotes; comments start with `#` where a word would.
fn next_token(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.peek()? != &'#' {
            break;
        }
        rest.by_ref().find(|c| *c == '\n');
    }
    let quoted = rest.next_if_eq(&'"').is_some();
    let mut token = String::new();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted => break,
            '\\' if quoted => token.extend(rest.next()),
            c if c.is_whitespace() && !quoted => break,
            c => token.push(c),
        }
    }
    Some(token)
}

/// A macro goes up to an empty line.
fn skip_macro(rest: &mut Peekable<Chars<'_>>) {
    let mut before = ' ';
    for c in rest.by_ref() {
        if c == '\n' && before == '\n' {
            break;
        }
        before = c;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_entry_that_fits_is_taken() {
        let text = "# comment machine a\nmachine A.example login me password one\n\
                    machine b.example\n  login you\n  password \"t w\\\"o\"\n\
                    macdef init\nmachine c.example login no password no\n\n\
                    machine b.example login else account x password three\n\
                    machine incomplete login x\n\
                    default login any password four";
        for (host, user, found) in [
            ("a.example", None, ("me", "one")),
            ("b.example", None, ("you", "t w\"o")),
            ("b.example", Some("else"), ("else", "three")),
            ("c.example", None, ("any", "four")),
            ("incomplete", None, ("any", "four")),
        ] {
            let expected = (found.0.to_owned(), found.1.to_owned());
            assert_eq!(find_in(text, host, user), Some(expected), "{host}");
        }
        assert_eq!(find_in(text, "a.example", Some("you")), None);
        assert_eq!(find_in("", "a", None), None);
        assert_eq!(find(Path::new("/nowhere"), "a", None), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(machine|default|login|password|macdef|a|[ \n\"#\\\\]){0,30}") {
            let _ = find_in(&text, "a", None);
        }
    }
}
