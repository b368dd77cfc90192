//! Who there is and what each may do. It refuses to know passwords' hashing, cookies and addresses of requests.
pub mod installation;
pub mod member;
pub mod refusal;
pub mod rights;
