//! Query parameters, strictly: what is not UTF-8 is refused, where a form parser would put replacement characters.

use axum::http::Uri;
use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// The parameters of a request.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(uri: &Uri) -> Result<Self, ApiError> {
        let decode = |text: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|_| ApiError::bad_request("the query is not UTF-8"))
        };
        uri.query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name)?, decode(value)?))
            })
            .collect::<Result<_, _>>()
            .map(Query)
    }

    /// The value of a parameter that is given once, or not at all.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.0.iter().filter(|(given, _)| given == name);
        let first = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() {
            return Err(ApiError::bad_request(format!("{name} is given twice")));
        }
        Ok(first)
    }

    /// The value of a parameter that must be given.
    pub(crate) fn require(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name)?
            .ok_or_else(|| ApiError::bad_request(format!("the parameter {name} is missing")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &'static str) -> Result<Query, ApiError> {
        Query::parse(&Uri::from_static(query))
    }

    #[test]
    fn values_are_decoded_and_strict() {
        let query = parse("/x?key=a%2Fb%20c+d&other=1").unwrap();
        assert_eq!(query.require("key").unwrap(), "a/b c+d");
        assert_eq!(query.get("absent").unwrap(), None);
        assert!(query.require("absent").is_err());
        assert!(parse("/x?key=%ff").is_err());
        assert!(parse("/x?key=1&key=2").unwrap().get("key").is_err());
    }
}
