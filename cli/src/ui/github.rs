//! Commands a GitHub runner reads in the output of a step: lines that start with `::`, and `##[` anywhere.

/// A warning that is shown on the job's page.
pub(super) fn warning(text: &str) -> String {
    format!("::warning title=headstart::{}", escape(text))
}

/// A command's text: on one line, so that nothing in it starts another command.
fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The text with what the runner would take for a command pulled apart.
pub(crate) fn defuse(text: &str) -> String {
    let text = text.replace("##[", "# #[");
    match text.trim_start().starts_with("::") {
        true => format!("| {text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_one_command_whatever_it_quotes() {
        assert_eq!(
            warning("100%\n::set-output name=x::y"),
            "::warning title=headstart::100%25%0A::set-output name=x::y"
        );
    }

    #[test]
    fn quoted_text_is_no_command() {
        assert_eq!(defuse("  ::add-mask::x"), "|   ::add-mask::x");
        assert_eq!(defuse("a ##[add-path]b"), "a # #[add-path]b");
        assert_eq!(defuse("crate::module"), "crate::module");
    }
}
