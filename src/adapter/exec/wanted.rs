//! What a program is to get, and under which name.

use crate::config::{SecretName, is_variable_name};
use crate::error::Error;

/// One value for the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The environment variable.
    pub variable: String,
    /// The declared secret.
    pub name: SecretName,
    /// Its field; `None` for the whole secret as JSON.
    pub field: Option<String>,
    /// How it travels.
    pub by: By,
}

/// How a value reaches a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The variable holds it.
    Environment,
    /// The variable holds the path of an open file in memory.
    File,
}

impl Wanted {
    /// `VAR=NAME` or `VAR=NAME/FIELD`.
    ///
    /// # Errors
    /// [`Error::Usage`] for anything else.
    pub fn parse(text: &str, by: By) -> Result<Self, Error> {
        let flag = by.flag();
        let parts = text.split_once('=').and_then(|(variable, what)| {
            let (name, field) = match what.split_once('/') {
                Some((name, field)) => (name, Some(field)),
                None => (what, None),
            };
            (field != Some("")).then_some((variable, SecretName::parse(name)?, field))
        });
        let Some((variable, name, field)) = parts else {
            return Err(Error::Usage(format!("{flag} {text}: expected VAR=NAME/FIELD")));
        };
        if !is_variable_name(variable) {
            return Err(Error::Usage(format!(
                "{flag} {text}: {variable:?} cannot be a variable: letters, digits and _, no digit first"
            )));
        }
        Ok(Self { variable: variable.into(), name, field: field.map(Into::into), by })
    }
}

impl By {
    /// The flag that asks for it.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Environment => "--env",
            Self::File => "--file",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_a_name_and_a_field() {
        let wanted = Wanted::parse("PGPASSWORD=db/password", By::Environment).unwrap();
        assert_eq!((wanted.variable.as_str(), wanted.name.as_str()), ("PGPASSWORD", "db"));
        assert_eq!(wanted.field.as_deref(), Some("password"));
        let whole = Wanted::parse("DB=db", By::File).unwrap();
        assert_eq!(whole.field, None);
        let slashes = Wanted::parse("A=db/a/b=c", By::File).unwrap();
        assert_eq!(slashes.field.as_deref(), Some("a/b=c"));
        for wrong in ["", "A", "=db", "A=", "1A=db", "A B=db", "A=/x", "A=db/", "A=.db"] {
            assert!(Wanted::parse(wrong, By::Environment).is_err(), "{wrong}");
        }
    }
}
