//! The bill: what the meter counted, in money, as a customer is sent it.
//!
//! * [`money`]: decimals, currencies, and the one rounding
//! * [`prices`]: price lists of organizations and workspaces
//! * [`rates`]: credits per hour that an organization or workspace has of its own
//! * [`period`]: what a workspace used in a period, by project, computer, size and rate, as it was known
//!   at some time
//! * [`document`]: a statement as it is kept and shown
//! * [`make`]: how a statement comes about
//! * [`proof`]: whether statements still say what happened
//! * [`handlers`], [`explain`]: the endpoints; [`sheet`], [`html`], [`pdf`], [`csv`]: what a statement looks like
//! * [`monthly`]: every month by itself
//! * [`owner`]: an organization, a workspace or a project, as the owner of prices and budgets
//! * [`focus`]: for programs that compare costs
//! * [`budgets`]: how much may be used, who is told, and what is refused
//!
//! The rules are in `assets/manual/billing.md`.

pub mod budgets;
pub mod csv;
pub mod document;
pub mod explain;
pub mod focus;
pub mod handlers;
pub mod html;
pub mod make;
pub mod money;
pub mod monthly;
pub mod owner;
pub mod pdf;
pub mod period;
pub mod prices;
pub mod proof;
pub mod rates;
pub mod sheet;
