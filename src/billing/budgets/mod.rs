//! Budgets: how much an organization, a workspace or a project may use in a period, who is told when, and what
//! happens at its end. Budgets are looked at once a minute; what they come to is written then, so that a start
//! asks for a row and no sum.

mod budget;
mod handlers;
mod rule;

pub use budget::{BudgetView, look as look_at_all};
pub use handlers::{Gone, delete, list, look, set, show};
pub use rule::SetBudget;
