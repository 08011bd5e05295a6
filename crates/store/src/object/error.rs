//! What object stores answer, in our words.

use object_store::Error as ObjectError;

use crate::StoreError;

/// Maps an error of `what` in `store`.
pub(super) fn map(store: &str, what: String, error: ObjectError) -> StoreError {
    let store = store.to_owned();
    match error {
        // S3 answers 404 for both; only its code tells a missing object from a missing bucket.
        ObjectError::NotFound { source, .. } if says_no_bucket(&*source) => StoreError::Refused {
            store,
            reason: "there is no such bucket".to_owned(),
        },
        ObjectError::NotFound { .. } => StoreError::Missing { what, store },
        ObjectError::PermissionDenied { source, .. } | ObjectError::Unauthenticated { source, .. } => {
            StoreError::Refused {
                store,
                reason: format!("access to {what} is denied ({})", reason(&*source)),
            }
        }
        ObjectError::NotSupported { .. } | ObjectError::NotImplemented { .. } => {
            StoreError::Unsupported(format!("{store} cannot do what a store needs: {error}"))
        }
        _ => StoreError::Unavailable {
            store,
            // Every layer of these errors repeats the ones below.
            source: reason(&error).into(),
        },
    }
}

/// For writes: there is nothing to be missing but the place to write to.
pub(super) fn not_found_is_refused(error: StoreError) -> StoreError {
    match error {
        StoreError::Missing { store, .. } => StoreError::Refused {
            store,
            reason: "the bucket or container to write to is not there".to_owned(),
        },
        other => other,
    }
}

fn says_no_bucket(source: &(dyn std::error::Error + 'static)) -> bool {
    ["NoSuchBucket", "ContainerNotFound"]
        .iter()
        .any(|code| innermost(source).contains(code) || source.to_string().contains(code))
}

/// The first cause, or the code in the XML that clouds answer.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let text = innermost(error);
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map(|(code, _)| code.to_owned());
    code.unwrap_or(text)
}

fn innermost(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once_and_short() {
        let answer = "403: <Error><Code>SignatureDoesNotMatch</Code><Message>long</Message></Error>";
        let error = ObjectError::PermissionDenied {
            path: "p".to_owned(),
            source: answer.into(),
        };
        let error = map("s3://b", "pack x".to_owned(), error);
        assert_eq!(
            error.to_string(),
            "s3://b refused: access to pack x is denied (SignatureDoesNotMatch)"
        );
        let error = ObjectError::NotFound {
            path: "p".to_owned(),
            source: "<Error><Code>NoSuchBucket</Code></Error>".into(),
        };
        assert!(matches!(
            map("s", "w".to_owned(), error),
            StoreError::Refused { .. }
        ));
    }
}
