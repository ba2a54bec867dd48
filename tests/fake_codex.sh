#!/bin/sh
# A stand-in for the native Codex binary. What it says and leaves behind is what the real 0.169.0 was seen to say and
# leave; 0.160 and older differ where the version is looked at. Verbs of its own, for tests: `exit N`, `signal NAME`,
# `sleep SECONDS`, `cat`. Any other command reports its arguments, directory and environment (helpers.overheard reads it).
set -u
version=0.169.0

callers_path=${PATH-}
PATH=/usr/bin:/bin
minor=${version#*.}
minor=${minor%%.*}
home=${CODEX_HOME:-${HOME-}/.codex}
features="apps browser_use hooks plugins"
[ "$minor" -lt 157 ] || features="$features daemon_auto_start"
shown="HOME PATH TMPDIR LANG TERM SHELL OPENAI_API_KEY OPENAI_BASE_URL OPENAI_ORGANIZATION OPENAI_PROJECT
    OPENAI_IDENTITY_TOKEN_SOURCE OPENAI_SPIFFE_ID OPENAI_SPIFFE_AUDIENCE
    OPENAI_FEDERATION_RULE_ID OPENAI_IDENTITY_TOKEN_FILE OPENAI_WORKLOAD_IDENTITY_CONTEXT
    CODEX_HOME CODEX_SQLITE_HOME CODEX_ACCESS_TOKEN CODEX_API_KEY CODEX_MANAGED_PACKAGE_ROOT
    CODEX_MANAGED_BY_NPM CODEX_MANAGED_BY_BUN CODEX_MANAGED_BY_PNPM CODEX_MANAGED_BY_VITE_PLUS
    CODEX_REFRESH_TOKEN_URL_OVERRIDE CODEX_REVOKE_TOKEN_URL_OVERRIDE
    CODEX_THREAD_ID CODEX_SESSION_ID CODEX_TOOL_CALL_ID CODEX_CI
    CODEX_INSTALL_DIR CODEX_RELEASE CODEX_NON_INTERACTIVE
    CODEX_MIRROR_HOME CODEX_MIRROR_BIN_DIR CODEX_MIRROR_CLONE CODEX_MIRROR_USER_HOME CODEX_MIRROR_CLI
    XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME XDG_CACHE_HOME XDG_RUNTIME_DIR SSH_AUTH_SOCK
    ${FAKE_CODEX_SHOW-}"

err() {
    printf '%s\n' "$*" >&2
}

die() {
    err "$*"
    exit 1
}

trouble_with_home() {
    if [ -z "${CODEX_HOME-}" ]; then
        mkdir -p "$home"
    elif [ ! -e "$CODEX_HOME" ]; then
        printf 'CODEX_HOME points to "%s", but that path does not exist' "$CODEX_HOME"
    elif [ ! -d "$CODEX_HOME" ]; then
        printf 'CODEX_HOME points to "%s", but that path is not a directory' "$CODEX_HOME"
    fi
}

# The aliases that every start of Codex leaves in CODEX_HOME: links to its own canonical executable.
make_aliases() {
    real_home=$(cd "$home" && pwd -P)
    real_tmp=$(cd "${TMPDIR:-/tmp}" 2>/dev/null && pwd -P)
    case "$real_home/" in
    "$real_tmp"/*)
        err "WARNING: proceeding, even though we could not create PATH aliases: Refusing to create helper binaries under temporary dir \"$real_tmp\" (codex_home: AbsolutePathBuf(\"$real_home\"))"
        return
        ;;
    esac
    arg0=$home/tmp/arg0
    [ ! -d /proc/self ] || arg0=$arg0-linux
    # As few processes as can be: most of what the tests take is this script.
    own=$(cd "${0%/*}" && pwd -P)/${0##*/}
    [ ! -h "$0" ] || own=$(readlink -f "$0")
    if { [ -d "$arg0" ] || mkdir -p "$arg0"; } 2>/dev/null &&
        aliases=$(mktemp -d "$arg0/codex-arg0XXXXXX" 2>/dev/null); then
        : >"$aliases/.lock"
        ln -s "$own" "$aliases/apply_patch"
        ln -s "$own" "$aliases/applypatch"
    else
        err "WARNING: proceeding, even though we could not create PATH aliases: Permission denied (os error 13)"
    fi
}

# Says what is wrong with config.toml: a line without a value, or a key that stands twice.
trouble_with_config() {
    [ ! -e "$home/config.toml" ] || awk -v file="$home/config.toml" '
        function bad(what) { print file ":" NR ":1: " what; exit }
        /^[ \t]*($|#)/ { next }
        /^[ \t]*\[\[/ { section = $0 NR; next }
        /^[ \t]*\[/ { section = $0; gsub(/[][ \t]|#.*/, "", section); if (seen[section]++) bad("duplicate key"); next }
        !/[][="{},]/ { bad("key with no value, expected `=`") }
        /^[ \t]*[A-Za-z0-9_."-]+[ \t]*=/ {
            key = $0; sub(/[ \t]*=.*/, "", key); sub(/^[ \t]*/, "", key)
            if (section == "" && key ~ /^features\./) seen["features"]++
            if (section != "") key = section "." key
            if (seen[key]++) bad("duplicate key")
        }' "$home/config.toml"
}

login_status() {
    auth=$home/auth.json
    [ -z "${CODEX_ACCESS_TOKEN-}" ] ||
        die "Error checking login status: failed to decode agent identity JWT: invalid agent identity JWT format"
    [ -e "$auth" ] || die "Not logged in"
    text=$(tr -d '\n' <"$auth" 2>/dev/null) || die "Error checking login status: Is a directory (os error 21)"
    case $text in
    "{"*"}") ;;
    *) die "Error checking login status: failed to deserialize CLI auth from file: EOF while parsing a value" ;;
    esac
    key=$(printf '%s' "$text" | sed -n 's/.*"OPENAI_API_KEY" *: *"\([^"]*\)".*/\1/p')
    if [ -z "$key" ]; then
        err "Logged in using ChatGPT"
        return
    fi
    hidden="***"
    [ "${#key}" -le 13 ] || hidden="$(printf '%.8s' "$key")***${key#"${key%?????}"}"
    if [ "$minor" -le 160 ]; then
        err "Logged in using an API key - $hidden"
    else
        err "API key configured - $hidden"
        err "Authentication is checked when you send a request."
    fi
}

keep_login() {
    (umask 077 && cat >"$home/auth.json.new-$$") && mv "$home/auth.json.new-$$" "$home/auth.json"
}

login_with_key() {
    err "Reading API key from stdin..."
    key=$(tr -d '[:space:]')
    [ -n "$key" ] || die "No API key provided via stdin."
    printf '{\n  "auth_mode": "apikey",\n  "OPENAI_API_KEY": "%s"\n}' "$key" | keep_login
    err "API key saved. Authentication is checked when you send a request."
}

# Waits for the file that FAKE_CODEX_UNTIL names, as the real one waits for the browser; logs in as FAKE_CODEX_AUTH says.
login_with_browser() {
    rm -f "$home/auth.json" # At once, as the real one does (0.169).
    err "Starting local login server on http://localhost:1455."
    while [ -n "${FAKE_CODEX_UNTIL-}" ] && [ ! -e "$FAKE_CODEX_UNTIL" ]; do
        sleep 0.05
    done
    keep_login <"${FAKE_CODEX_AUTH:-/dev/null}"
    [ -s "$home/auth.json" ] || echo '{"auth_mode": "chatgpt", "OPENAI_API_KEY": null, "tokens": {}}' | keep_login
    err "Successfully logged in"
}

logout() {
    if [ -e "$home/auth.json" ]; then
        rm "$home/auth.json" && err "Successfully logged out"
    else
        err "Not logged in"
    fi
}

known_feature() {
    case " $features " in
    *" $1 "*) ;;
    *) die "Error: Unknown feature flag: $1" ;;
    esac
}

feature_value() {
    [ ! -e "$home/config.toml" ] || awk -v name="$1" '
        /^[ \t]*\[/ { section = $1; next }
        section == "[features]" && $1 == name { print $3 }
        section == "" && $1 == "features." name { print $3 }' "$home/config.toml"
}

list_features() {
    for name in $features; do
        value=$(feature_value "$name")
        printf '%-40s  %-20s  %s\n' "$name" stable "${value:-true}"
    done
}

# Writes `NAME = VALUE` into the [features] table, or beside the dotted keys, or into a new table at the end.
set_feature() {
    known_feature "$1"
    [ -e "$home/config.toml" ] || (umask 077 && : >"$home/config.toml")
    awk -v name="$1" -v value="$2" '
        { line[NR] = $0 }
        /^[ \t]*\[/ { section = $1 }
        section == "[features]" && NF { last = NR; key = name }
        section == "" && /^features\./ { last = NR; key = "features." name }
        (section == "[features]" && $1 == name) || (section == "" && $1 == "features." name) { old = NR }
        END {
            for (i = 1; i <= NR; i++) {
                print i == old ? key " = " value : line[i]
                if (i == last && !old) print key " = " value
            }
            if (!last) print (NR ? "\n" : "") "[features]\n" name " = " value
        }' "$home/config.toml" >"$home/config.toml.new-$$" && cat "$home/config.toml.new-$$" >"$home/config.toml"
    rm "$home/config.toml.new-$$"
    word=Disabled
    [ "$2" = false ] || word=Enabled
    echo "$word feature \`$1\` in config.toml."
}

report() {
    {
        for word; do printf 'arg=%s\0' "$word"; done
        printf 'cwd=%s\0' "$(pwd -P)"
        PATH=$callers_path
        for name in $shown; do
            eval "[ -z \"\${$name+set}\" ] || printf 'env=%s=%s\\0' \"\$name\" \"\$$name\""
        done
    } | /usr/bin/od -An -v -tx1 | /usr/bin/tr -d ' \n' | /usr/bin/sed 's/^/heard /'
    echo
}

trouble=$(trouble_with_home)
if [ -n "$trouble" ]; then
    err "WARNING: proceeding, even though we could not create PATH aliases: $trouble"
else
    make_aliases
fi
case ${1-} in
--version | -V)
    echo "codex-cli $version"
    exit
    ;;
esac
[ -n "$trouble" ] || trouble=$(trouble_with_config)
[ -n "$trouble" ] || [ -e "$(/bin/pwd 2>/dev/null)" ] || trouble="No such file or directory (os error 2)"
[ -z "$trouble" ] || die "Error loading configuration: $trouble"

case "$#:$*" in
"2:login status") login_status ;;
"2:login --with-api-key") login_with_key ;;
1:login | "2:login --device-auth") login_with_browser ;;
1:logout) logout ;;
"2:features list") list_features ;;
"3:features disable "*) set_feature "$3" false ;;
"3:features enable "*) set_feature "$3" true ;;
"2:exit "*) exit "$2" ;;
"2:signal "*) kill -s "$2" $$ ;;
"2:sleep "*) exec sleep "$2" ;;
1:cat) exec cat ;;
*" app-server") exec sh "$home/app-server" ;; # A test says what it does.
*) report "$@" ;;
esac
