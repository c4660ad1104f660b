//! Criterion benches of segments and rings: `cargo bench -p benches`. Each checks what it moves before it is measured.
