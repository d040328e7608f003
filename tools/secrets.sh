#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fails when a tag, MAC or key may be compared in a time that depends on its bytes (PROTOCOL 14 row
# 67). In the folders that handle secrets every memcmp, bytes_equal and the like must compare one of
# the public things below by name, and nothing that sounds secret; secrets go through secret_equal.
# tools/secrets.sh [FOLDER...]
set -u
cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || set -- bus/cipher bus/crypto bus/envelope bus/session bus/trust bus/store

find "$@" -name '*.[ch]' -print0 | sort -z | xargs -0 perl -e '
    my $public = qr/identit|public|hash|continuation|dialer|_ID_SIZE|RATCHET_INIT_SIZE|prefix|topic|filter|name|NAME|HEADER|folder|descriptor
        |namespace|stamp|MAGIC|words\[|word,|fields\[|"|SIGNATURE_LINE|owner|transport|zeros|entr|role|text,
        |\bpayload|our_text,|document|audit_|scope|reader->key,|copy,\s/x;
    my $secret = qr/tag\b|mac\b|secret(?!_)|seed(?!->identity)|slot(?!s\[)|digest|confirm|commit|root|psk|verifier
        |passphrase|\bkey->(?:at|subkey)|subkey|ephemeral->at|transcript/xi;
    my ($bad, $seen) = (0, 0);
    for my $file (@ARGV) {
        open my $in, "<", $file or die "$file: $!\n";
        local $/;
        my $code = <$in>;
        $code =~ s{/\*.*?\*/|//[^\n]*}{ my $c = $&; $c =~ s/[^\n]//g; $c }gse;
        while ($code =~ /\b(memcmp|bcmp|strcmp|strncmp|timingsafe_bcmp|bytes_equal(?:_text)?)\s*
                (\((?:[^()]++|(?2))*\))/gx) {
            my ($call, $args, $end) = ($1, $2, $-[0]);
            my $line = 1 + (substr($code, 0, $end) =~ tr/\n//);
            $args =~ s/\s+/ /g;
            next if $args =~ /^\((?:struct|const)/; # a declaration
            $seen++;
            next if $args =~ $public && $args !~ $secret;
            print STDERR "$file:$line: $call$args: compare secrets with secret_equal, " .
                "or name what is public here in tools/secrets.sh\n";
            $bad++;
        }
    }
    exit 1 if $bad;
    print "secrets: $seen comparisons, all of public bytes\n";
' || exit 1
