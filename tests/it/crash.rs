//! Kill -9 at any moment, then restart.
