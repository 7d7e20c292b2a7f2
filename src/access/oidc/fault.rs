//! Why somebody does not come in by name.

/// What stands in the way, with the sentence for the person in front of the page.
#[derive(Debug)]
pub enum Fault {
    /// The provider does not answer, or not as it should.
    Provider(String),
    /// It is not an attempt of this browser, or one that is over.
    Attempt(&'static str),
    /// What the provider sent about the person is not to be believed.
    Token(&'static str),
    /// The person is known and may not come in.
    Denied(String),
    /// Too many sign in at once.
    Busy,
}

impl Fault {
    /// For the page.
    pub fn text(&self) -> String {
        match self {
            Fault::Provider(why) => {
                format!("The sign-in provider cannot be used now: {why}. Try again later.")
            }
            Fault::Attempt(why) => format!("This sign-in cannot be finished: {why}. Begin again."),
            Fault::Token(why) => format!(
                "The sign-in provider sent a token that is not to be believed: {why}. Whoever runs this installation should look at \
                 its --oidc settings and its clock."
            ),
            Fault::Denied(why) => why.clone(),
            Fault::Busy => "Too many people sign in at once. Try again in a moment.".into(),
        }
    }
}
