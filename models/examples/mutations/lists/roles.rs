//! Who holds a side.

use crate::mutation::{ByNone, CaughtBy, List, mutation};

const ROLE: &str = "ipc-core/src/peer/role.rs";

pub(crate) const ROLES: List = List {
    name: "roles",
    models: &["typed_", "takeover_"],
    orderings: &[
        mutation(
            "role, who looks at the other side: Acquire → Relaxed",
            ROLE,
            &[("from_bits(self.word.load(Ordering::Acquire))", "from_bits(self.word.load(Ordering::Relaxed))")],
            CaughtBy("typed_end"),
        ),
        mutation(
            "role, claimer's look: Acquire → Relaxed",
            ROLE,
            &[("let bits = self.word.load(Ordering::Acquire)", "let bits = self.word.load(Ordering::Relaxed)")],
            ByNone("the claim itself acquires: see the next but one"),
        ),
        mutation(
            "role, claim: AcqRel → Release",
            ROLE,
            &[("compare_exchange(bits, mine, Ordering::AcqRel,", "compare_exchange(bits, mine, Ordering::Release,")],
            ByNone("the look before it acquires: see the next"),
        ),
        mutation(
            "role, claimer's look and claim: both without Acquire",
            ROLE,
            &[
                ("let bits = self.word.load(Ordering::Acquire)", "let bits = self.word.load(Ordering::Relaxed)"),
                ("compare_exchange(bits, mine, Ordering::AcqRel,", "compare_exchange(bits, mine, Ordering::Release,"),
            ],
            CaughtBy("takeover"),
        ),
        mutation(
            "role, claim: AcqRel → Acquire",
            ROLE,
            &[("compare_exchange(bits, mine, Ordering::AcqRel,", "compare_exchange(bits, mine, Ordering::Acquire,")],
            ByNone(
                "a claimer has published nothing yet, and what the one before released is acquired through its claim as well: an exchange goes on with a release sequence",
            ),
        ),
        mutation(
            "role, release: AcqRel → Acquire",
            ROLE,
            &[(
                "compare_exchange(mine, mine | RELEASED, Ordering::AcqRel,",
                "compare_exchange(mine, mine | RELEASED, Ordering::Acquire,",
            )],
            CaughtBy("typed_end"),
        ),
        mutation(
            "role, release: AcqRel → Release",
            ROLE,
            &[(
                "compare_exchange(mine, mine | RELEASED, Ordering::AcqRel,",
                "compare_exchange(mine, mine | RELEASED, Ordering::Release,",
            )],
            ByNone("nothing is read after it"),
        ),
    ],
    steps: &[mutation(
        "a role is claimed by a store",
        ROLE,
        &[(
            "self.word.compare_exchange(bits, mine, Ordering::AcqRel, Ordering::Relaxed).is_ok()",
            "{ self.word.store(mine, Ordering::Release); true }",
        )],
        CaughtBy("takeover_two_claimers"),
    )],
};
