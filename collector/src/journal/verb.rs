//! The kind of act of a journal row.

crate::words::stored_words! {
    /// The kind of act.
    pub Verb {
        BatchRefused = "batch-refused",
        RecordRefused = "record-refused",
        EpochBegan = "epoch-began",
        ProbeBegan = "probe-began",
        ProbeEnded = "probe-ended",
        ProbeStopped = "probe-stopped",
        ProbeRefused = "probe-refused",
        Gap = "gap",
        PersonActed = "person-acted",
        Applied = "applied",
        FindingOpened = "finding-opened",
        FindingRenamed = "finding-renamed",
        FindingForgotten = "finding-forgotten",
        CaseMoved = "case-moved",
        Delivered = "delivered",
        DeliveryFailing = "delivery-failing",
        BlocksHeld = "blocks-held",
        BlocksApproved = "blocks-approved",
        SetIssued = "set-issued",
        Wave = "wave",
        WaveGo = "wave-go",
        WaveHold = "wave-hold",
        BundleRaised = "bundle-raised",
        PolicyChanged = "policy-changed",
        Exempted = "exempted",
        ExemptionEnded = "exemption-ended",
        Snoozed = "snoozed",
        Registered = "registered",
        RegistrationChanged = "registration-changed",
        Unregistered = "unregistered",
        AddressesChanged = "addresses-changed",
        TokenIssued = "token-issued",
        TokenWithdrawn = "token-withdrawn",
        Enrolled = "enrolled",
        Renewed = "renewed",
        Revoked = "revoked",
        KeyIssued = "key-issued",
        KeyRevoked = "key-revoked",
        SecretRotated = "secret-rotated",
        GrantMade = "grant-made",
        GrantRemoved = "grant-removed",
        PacksLoaded = "packs-loaded",
        PacksRefused = "packs-refused",
        BeganAnew = "began-anew",
        KeysAccepted = "keys-accepted",
        Restored = "restored",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_verb_is_read_as_it_is_stored_and_an_unknown_one_is_kept() {
        for verb in Verb::ALL {
            assert_eq!(Verb::from(verb.as_str().to_owned()), *verb);
        }
        assert_eq!(Verb::ALL.iter().map(Verb::as_str).collect::<BTreeSet<_>>().len(), Verb::ALL.len());
        let old: Verb = serde_json::from_str("\"of-another-version\"").unwrap();
        assert_eq!((old.as_str(), serde_json::to_string(&old).unwrap().as_str()), ("of-another-version", "\"of-another-version\""));
    }
}
