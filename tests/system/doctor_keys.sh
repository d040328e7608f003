#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the doctor says of keys and registries that are lost, damaged, exchanged, old or forked. Seeded
# faults: doctor_lib.sh.
# Not under sanitizers: it judges times.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/doctor_lib.sh"
K="aico-keytool --home $AICO_HOME -q"

# --- keys -------------------------------------------------------------------------------------------------
lost() { rm "$(own)"; }
damaged() { sed -i 's/^secret ./secret x/' "$(own)"; }
other_bytes() { sed -i 's/^check .*/check 00000000000000000000000000000000/' "$(own)"; }
empty() { : >"$(own)"; }
exchanged() { cp "$AICO_HOME/identities/backend.key" "$(own)"; }
former_key() { $K rotate cli --overlap 0; cp "$WHOLE/identities/cli.key" "$(own)"; }
interrupted() { $K rotate cli --overlap 0; mv "$(own)" "$(own).next-2"; cp "$WHOLE/identities/cli.key" "$(own)"; }
backup_beside() { cp -p "$(own)" "$(own).bak"; : >"$(own)"; }
revoked() { $K revoke cli --reason test; }
transport_old() { $K rotate cli --transport; cp "$WHOLE/identities/cli.key" "$(own)"; }
broker_transport_old() { $K rotate broker; cp "$WHOLE/broker.key" "$AICO_HOME/broker.key"; }
broker_lost() { rm "$AICO_HOME/broker.key"; }
broker_beside() { cp -p "$AICO_HOME/broker.key" "$AICO_HOME/broker.key.saved"; : >"$AICO_HOME/broker.key"; }
unregistered() { # the key of a component that the registry does not have
    aico-keytool --home "$WORK/spare" init -q 2>/dev/null
    aico-keytool --home "$WORK/spare" new robot -q 2>/dev/null
    cp "$WORK/spare/identities/robot.key" "$AICO_HOME/identities/"
    $K rule set 'robots/**' --publish '*' --subscribe '*'
}
fault "the key is lost" E_UNKNOWN "no such key file" lost
fault "a digit of the key is no digit" E_KEYFILE_DAMAGED "cli.key" damaged
fault "the key file is damaged" E_KEYFILE_DAMAGED "cli.key" other_bytes
fault "the key file is empty" E_KEYFILE_FORMAT "cli.key" empty
fault "the file holds another's key" E_KEYFILE_MISMATCH "another component" exchanged
fault "the key of before a rotation was put back" E_REVOKED "before a rotation" former_key
fault "a rotation was interrupted" E_REVOKED "before a rotation" interrupted
fault "the key is spoilt, a copy lies beside it" E_KEYFILE_FORMAT "cli.key" backup_beside
fault "the key is revoked" E_REVOKED "owner has revoked" revoked
fault "the transport key is the former one" E_KEYFILE_MISMATCH "transport key" transport_old
fault "the broker's transport key is the former one" E_KEYFILE_MISMATCH "broker.key its transport key" broker_transport_old
fault "the broker's key is spoilt, a copy lies beside it" E_KEYFILE_FORMAT "broker.key" broker_beside
hopeless "the broker's key is lost" E_UNKNOWN "broker.key there is no such key file" broker_lost
fault "the key is not registered" E_UNKNOWN "not in the registry" unregistered --as robot

# --- registry ---------------------------------------------------------------------------------------------
R=$AICO_HOME/registry
gone() { rm "$R"; }
by_hand() { sed -i 's/^component backend/component backenD/' "$R"; }
cut() { head -c 500 "$WHOLE/registry" >"$R"; }
not_one() { echo nonsense >"$R"; }
other_owner() { aico-keytool --home "$WORK/foreign" init --starter -q 2>/dev/null; cp "$WORK/foreign/registry" "$R"; }
put_back() { $K rule set a/b --publish cli --subscribe cli; cp "$WHOLE/registry" "$R"; }
forked() { # cli accepted one version 2, then there is another
    cp -a "$AICO_HOME/state/owner" "$WORK/owner.saved"
    $K rule set fork/a --publish cli --subscribe cli
    mkdir -p -m 700 "$AICO_HOME/state/cli"
    cp "$R" "$AICO_HOME/state/cli/registry"
    cp "$WHOLE/registry" "$R"
    rm -rf "$AICO_HOME/state/owner"; mv "$WORK/owner.saved" "$AICO_HOME/state/owner"
    $K rule set fork/b --publish cli --subscribe cli
}
swapped() { # the owner signed one version 2, and somebody put another there
    forked
    cp "$AICO_HOME/state/cli/registry" "$WORK/fork"
    cp "$R" "$AICO_HOME/state/cli/registry"
    cp "$WORK/fork" "$R"
}
renamed() { sed -i 's/^\( *namespace:\).*/\1 robots/' "$AICO_HOME/security.yaml"; }
renamed_alone() { renamed; rm -rf "$AICO_HOME/state/owner"; }
aged() { # issued long ago: signed again under a clock of last year
    sed -i 's/^\( *registry_max_age:\).*/\1 86400/' "$AICO_HOME/security.yaml"
    LD_PRELOAD=$AICO_TEST_BIN/skewed-clock.so TEST_SKEW_S=-1000000 $K renew
}
no_public() { rm "$AICO_HOME/owner.public"; }
public_spoilt() { sed -i 's/^public ..../public 0000/' "$AICO_HOME/owner.public"; }
copy_spoilt() { mkdir -p -m 700 "$AICO_HOME/state/cli"; head -c 300 "$R" >"$AICO_HOME/state/cli/registry"; }
number_spoilt() { mkdir -p -m 700 "$AICO_HOME/state/cli"; echo nonsense >"$AICO_HOME/state/cli/generation"; }
fault "the registry is missing" E_NOT_FOUND "registry is missing" gone
fault "the registry was changed by hand" E_REGISTRY_SIGNATURE "/registry" by_hand
fault "the registry is cut off" E_REGISTRY_SIGNATURE "/registry" cut
fault "the registry is something else" E_REGISTRY "/registry" not_one
fault "the registry is of another owner" E_REGISTRY_SIGNATURE "/registry" other_owner
fault "an older registry was put back" E_REGISTRY_OLD "older than 2" put_back
fault "two registries of one version were signed" E_EQUIVOCATION "two copies of the owner's key" forked
fault "another registry of the version signed here" E_EQUIVOCATION "/registry" swapped
fault "the settings name another namespace" E_NAMESPACE "/registry" renamed_alone
fault "owner.public is missing" E_NOT_FOUND "owner.public" no_public
fault "owner.public is spoilt" E_SIGNATURE "owner.public" public_spoilt
fault "an accepted copy is spoilt" E_REGISTRY_SIGNATURE "state/cli/registry" copy_spoilt
fault "the number of the generation is spoilt" E_STATE "generation" number_spoilt
if [ -e "${AICO_TEST_BIN:-}/skewed-clock.so" ]; then
    fault "the registry is older than registry_max_age" E_REGISTRY_STALE "registry_max_age" aged
fi
report_times
finish
