#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# --help, the man page and the completion of every program name the same verbs and options, and each
# shell that is installed loads what was made for it. AICO_BIN: bin/ of a build tree.
. "$(dirname "$0")/lib.sh"

PAGES=$(dirname "$AICO_BIN")/pages
export HOME="$WORK" # what shells write of their own

# options_of FILE: the long options a help text names, one a line.
options_of() { sed -nE 's/^  (-.,|   ) --([a-z-]+).*/--\2/p' "$1" | sort; }
# verbs_of FILE: the leading words in lower case of the list of commands.
verbs_of() {
    sed -n '/^Commands/,/^$/p' "$1" | sed -nE 's/^  ([a-z]+( [a-z]+)?)( .*|$)/\1/p'
}
# man_options PAGE [VERB]: those of the verb's section and of all; of all without a VERB.
man_options() {
    awk -v verb="${2-}" '
        /^\.S[SH]/ {
            on = /^\.SH OPTIONS/
            if (verb != "" && $1 == ".SS") { title = substr($0, 6) " "; gsub(/"/, " ", title)
                on = index(title, verb " ") == 1 }
        }
        on && /^(\\fB\\-.\\fR, )?\\fB\\-\\-/ { sub(/^\\fB\\-.\\fR, /, ""); print }' "$1" |
        sed -E 's/^\\fB\\-\\-([^ ]*)\\fR.*/--\1/; s/\\-/-/g' | sort
}
# bash_words PROGRAM WORD...: what TAB offers behind these words; the last one may be empty.
bash_words() {
    (
        compopt() { :; }
        # shellcheck disable=SC1090
        . "$PAGES/bash/$1"
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        "_${1//-/_}"
        [ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\n' "${COMPREPLY[@]}"
    )
}
# The same for zsh, with _arguments telling what it was given.
zsh_ask() { # PROGRAM
    local verb
    mkdir -p "$WORK/zsh.$1"
    {
        printf '_arguments() { print -rl -- "$@" }\n_describe() { : }\n'
        printf 'source %s >"%s/ options"\n' "$PAGES/zsh/_$1" "$WORK/zsh.$1"
        while read -r verb; do
            printf '_%s_%s >"%s/%s"\n' "$1" "${verb// /_}" "$WORK/zsh.$1" "$verb"
        done
    } >"$WORK/ask.zsh"
    zsh -f "$WORK/ask.zsh" 2>"$WORK/ask.err"
    [ ! -s "$WORK/ask.err" ] || { cat "$WORK/ask.err"; return 1; }
}
zsh_options() { # PROGRAM [VERB]
    sed -nE 's/^\*(--[a-z-]+).*/\1/p' "$WORK/zsh.$1/${2:- options}" | sort -u
}
# Fish starts slowly: one process answers for all verbs of a program, each in a file.
fish_ask() { # PROGRAM
    local verb
    mkdir -p "$WORK/fish.$1"
    {
        printf 'source %s\n' "$PAGES/fish/$1.fish"
        printf 'complete -C "%s " >"%s/ verbs"\n' "$1" "$WORK/fish.$1"
        printf 'complete -C "%s --" >"%s/ options"\n' "$1" "$WORK/fish.$1"
        while read -r verb; do
            printf 'complete -C "%s %s --" >"%s/%s"\n' "$1" "$verb" "$WORK/fish.$1" "$verb"
        done
    } >"$WORK/ask.fish"
    fish -N "$WORK/ask.fish"
}
fish_options() { # PROGRAM [VERB]
    sed -nE 's/^(--[a-z-]+)(=?\t.*|=?$)/\1/p' "$WORK/fish.$1/${2:- options}" | sort -u
}

has() { command -v "$1" >/dev/null; }

compare() { # PROGRAM [VERB]
    local where="$1${2:+ $2}"
    # shellcheck disable=SC2086
    "$1" ${2-} --help >"$WORK/help.txt" 2>&1
    options_of "$WORK/help.txt" >"$WORK/help"
    check "$where: --help names options" test -s "$WORK/help"
    man_options "$MAN" >"$WORK/man.all"
    [ $# -eq 1 ] || man_options "$MAN" "$2" >>"$WORK/man.all"
    sort -u "$WORK/man.all" >"$WORK/man"
    check "$where: the man page names the same" diff "$WORK/help" "$WORK/man"
    # shellcheck disable=SC2086
    bash_words "$1" ${2-} -- | sort >"$WORK/bash"
    check "$where: bash offers the same" diff "$WORK/help" "$WORK/bash"
    if has zsh; then
        zsh_options "$@" >"$WORK/zsh"
        check "$where: zsh offers the same" diff "$WORK/help" "$WORK/zsh"
    fi
    if has fish; then
        fish_options "$@" >"$WORK/fish"
        check "$where: fish offers the same" diff "$WORK/help" "$WORK/fish"
    fi
}

for program in aico-bus aico-keytool aico-frontend aico-broker aico-backend; do
    MAN=$(ls "$PAGES/man/$program".[18])
    check "$program: bash reads its completion" bash -n "$PAGES/bash/$program"
    has zsh && check "$program: zsh reads its completion" zsh -f -n "$PAGES/zsh/_$program"
    if has mandoc; then
        mandoc -T lint -W warning "$MAN" 2>&1 | grep -v 'missing date' >"$WORK/lint"
        check "$program: its man page is well-formed" test ! -s "$WORK/lint"
        [ ! -s "$WORK/lint" ] || cat "$WORK/lint"
    fi
    "$program" --help >"$WORK/program.help"
    verbs_of "$WORK/program.help" >"$WORK/verbs"
    has zsh && check "$program: zsh loads its completion" zsh_ask "$program" <"$WORK/verbs"
    has fish && check "$program: fish loads its completion" fish_ask "$program" <"$WORK/verbs"
    compare "$program"
    [ -s "$WORK/verbs" ] || continue

    sed -nE 's/^\.SS "([a-z]+( [a-z]+)?)[ "].*/\1/p' "$MAN" >"$WORK/man"
    check "$program: the man page has the same verbs" diff "$WORK/verbs" "$WORK/man"
    cut -d' ' -f1 "$WORK/verbs" | sort -u >"$WORK/first"
    bash_words "$program" '' | sort >"$WORK/bash"
    check "$program: bash offers the same verbs" diff "$WORK/first" "$WORK/bash"
    if has fish; then
        cut -f1 "$WORK/fish.$program/ verbs" | sort -u >"$WORK/fish"
        check "$program: fish offers the same verbs" diff "$WORK/first" "$WORK/fish"
    fi
    while read -r verb; do
        compare "$program" "$verb"
    done <"$WORK/verbs"
done

# --- arguments, and what stands before the verb ------------------------------------------------------
offers() { # "WORD WORD..." WANTED...
    local words=$1
    shift
    printf '%s\n' "$@" | sort >"$WORK/wanted"
    # shellcheck disable=SC2086
    bash_words $words "${CURRENT-}" | sort >"$WORK/offered"
    diff "$WORK/wanted" "$WORK/offered"
}
mkdir -p "$AICO_HOME/identities"
touch "$AICO_HOME/identities/camera.key" "$AICO_HOME/identities/cli.key"
CURRENT=re check "a verb is completed behind an option with its value" offers "aico-bus --as cli" reload reply request
check "words of an option are offered" offers "aico-bus sub --slow" drop-old drop-new block disconnect
CURRENT=d check "  also behind =" offers "aico-bus sub --slow =" drop-old drop-new disconnect
check "names of the home are offered" offers "aico-bus --as" camera cli
check "words of an argument are offered" offers "aico-keytool may cli" publish subscribe
check "the second word of a verb is offered" offers "aico-keytool rule" set list remove
if has fish; then
    check "fish: the second word of a verb" bash -c \
        "diff <(printf '%s\n' list remove set) <(fish -N -c 'source \$argv[1]; complete -C \"aico-keytool rule \"' \
            '$PAGES/fish/aico-keytool.fish' | cut -f1 | sort)"
fi

# --- an option belongs to its verb -------------------------------------------------------------------
check_exit "an option of another verb is refused" 2 aico-keytool rule list --publish x
check "  with the verb's name" grep -q 'does not belong to rule list' "$WORK/err"
check_exit "so is a passphrase where none is used" 2 aico-keytool list --passphrase-fd 0
check_exit "one of aico-bus too" 2 aico-bus status --lines
finish
