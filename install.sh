#!/bin/sh
# Installs codex-mirror for you alone: one Python file and one short command. No sudo, no rc file unless you ask.
#
#   sh install.sh                       from a checkout, or from a release's files
#   curl -fsSL https://raw.githubusercontent.com/Mohit-Patil/codex-mirror/main/install.sh | sh
#   sh install.sh --dry-run             says what it would do on this machine, and does nothing
#   sh install.sh --uninstall           takes away what it brought; your clones stay
#
# The functions come in reading order: `main` first, its details below. Only the last line of this file starts
# anything, and up to the last brace it is one command, so a download that was cut off does nothing: else half a name,
# such as the first four letters of make_directory, would be a command.

{
[ -z "${ZSH_VERSION:-}" ] || emulate sh
set -u
begun=""
trap '[ "$begun" ] || { warn "this file is incomplete" && exit 1; }' EXIT

STAMP_VERSION=""
STAMP_SHA256=""

REPOSITORY="https://github.com/Mohit-Patil/codex-mirror"
RAW_FILES="https://raw.githubusercontent.com/Mohit-Patil/codex-mirror/main"
# Where it lies that isn't on PATH, as in a program that the Dock starts.
PYTHON_PLACES="/opt/homebrew/bin /usr/local/bin /opt/local/bin /usr/bin /run/current-system/sw/bin \
/home/linuxbrew/.linuxbrew/bin /opt/conda/bin"
PYTHON_FRAMEWORK=/Library/Frameworks/Python.framework/Versions
PYTHON_OPT=/opt
PYTHONS="python3 python3.14 python3.13 python3.12 python3.11 python3.10"
# A line of each file that it writes, but for the program, which the receipt stands for.
MARK="# Written by codex-mirror's install.sh, which replaces and removes it."
# 1.0.0 wrote these, at first, into its launcher and its receipt.
MARKS_OF_1_0_0="# codex-mirror's launcher: written by its install.sh, which replaces and removes it.
# codex-mirror's receipt: its install.sh reads here what it wrote, to upgrade and to uninstall."
# How the program is started. It is imported, not run, so that Python keeps its bytecode; its directory comes last, so
# that nothing in it can stand in for a part of Python. The garbage collector would search what is imported at the start
# and again at the end, and find nothing, for more than half of the time that Python itself needs to start; `main` has
# written out everything when it ends, so the process ends at once instead of taking itself apart. Until `main` listens,
# Ctrl-C is its end without a traceback, unless it was ignored; `_signal` is there at once, and `signal` is not.
START='import _signal as s
s.getsignal(s.SIGINT) == s.SIG_IGN or s.signal(s.SIGINT, s.SIG_DFL)
import gc, os, sys
gc.disable()
del sys.argv[0]
sys.path.append(sys.argv.pop(0))
try:
    from codex_mirror import main
except Exception as error:
    from shlex import quote
    file = sys.path[-1] + "/codex_mirror.py"
    what = f"is damaged: {error}" if os.path.lexists(file) else "is missing"
    prefix = quote(file.removesuffix("/share/codex-mirror/codex_mirror.py"))
    again = "curl -fsSL '$RAW_FILES'/install.sh | PREFIX=" + prefix + " sh"
    sys.exit(f"codex-mirror: {file} {what}\nhint: to install it again: {again}")
gc.freeze()
gc.enable()
os._exit(main())'
NEWLINE="
"

usage() {
    cat <<'END'
Installs codex-mirror: pinned clones of the OpenAI Codex CLI, each with its own login.

usage: sh install.sh [OPTIONS]

  --prefix DIR     install below DIR instead of ~/.local:
                   DIR/share/codex-mirror/codex_mirror.py and DIR/bin/codex-mirror
  --modify-path    put the command's directory on PATH (runs `codex-mirror path setup`)
  --completions    install completions for those of bash, zsh and fish that are here
  --uninstall      remove what was installed, with the PATH block, the completions, and where no clone
                   is left the shim; clones stay
  --purge          --uninstall, and remove the clones; asks for each that has something to lose, as
                   `codex-mirror remove` does
  -y, --yes        don't ask
  -n, --dry-run    say what would be done, change nothing
  -h, --help       this text

environment:
  PREFIX                  as --prefix
  CODEX_MIRROR_PYTHON     the Python to use, 3.10 or newer; else the first on PATH that will do
  CODEX_MIRROR_URL        the directory to download codex_mirror.py from: https:, file:,
                          or http: on this machine; else the repository, or the release of this file

exit codes: 0 done, 1 failed, 2 usage, 5 refused (a file that isn't ours, a directory that PATH can't hold, a no,
            a question nobody can answer), 6 a clone is in use, 130 interrupted
END
}

main() {
    # If the last line is cut off after its first word, the options are lost: then do nothing.
    [ "$#" -eq "$OPTIONS_GIVEN" ] || exit 1
    begun=yes
    understand "$@"
    choose_places
    if [ "$deed" = install ]; then
        install
    else
        uninstall
    fi
}

understand() {
    deed=install prefix=${PREFIX:-} modify_path=no completions=no purge=no yes="" dry_run=no
    while [ "$#" -gt 0 ]; do
        case $1 in
            --prefix)
                [ "$#" -gt 1 ] || err "--prefix needs a directory" "sh install.sh --help" 2
                set_prefix "$2"
                shift
                ;;
            --prefix=*) set_prefix "${1#--prefix=}" ;;
            --modify-path) modify_path=yes ;;
            --completions) completions=yes ;;
            --uninstall) deed=uninstall ;;
            --purge) deed=uninstall purge=yes ;;
            -y | --yes) yes=yes ;;
            -n | --dry-run) dry_run=yes ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) err "unknown option: $1" "sh install.sh --help" 2 ;;
        esac
        shift
    done
}

set_prefix() {
    prefix=$1
    [ -n "$prefix" ] || err "--prefix is empty (is a variable unset?)" "sh install.sh --help" 2
}

choose_places() {
    need_cmds cat chmod cmp cp cut grep id ls mkdir mv rm rmdir sed sort uname
    choose_home
    case $prefix in
        "") prefix=$HOME/.local ;;
        # An option whose directory was left out took the next one for it.
        -*) err "--prefix needs a directory, not $prefix" "for a directory of that name: --prefix ./$prefix" 2 ;;
        /*) ;;
        [~]/*) prefix=$HOME/${prefix#??} ;;
        *) prefix=$PWD/$prefix ;;
    esac
    while [ "$prefix" != "${prefix%/}" ]; do prefix=${prefix%/}; done
    case $HOME$prefix${XDG_DATA_HOME:-}${XDG_CONFIG_HOME:-}${BASH_COMPLETION_USER_DIR:-} in
        *"$NEWLINE"*) err "a directory's name has a line break in it; that can't be installed to" ;;
    esac
    library=$prefix/share/codex-mirror
    program=$library/codex_mirror.py
    receipt=$library/receipt
    bin=$prefix/bin
    launcher=$bin/codex-mirror
    staged="" stages=""
    mirror_home=${CODEX_MIRROR_HOME:-$HOME/.codex-mirror}
    made=""
    # What we make is nobody else's to write.
    umask go-w
}

choose_home() {
    # Inside a clone HOME and its like are the clone's; we belong in yours.
    [ -z "${CODEX_MIRROR_USER_HOME:-}" ] || unset XDG_DATA_HOME XDG_CONFIG_HOME
    HOME=${CODEX_MIRROR_USER_HOME:-${HOME:-}}
    if [ "$(id -u)" -eq 0 ]; then
        # Below sudo HOME can still be that of whoever called it, and files of root's have no place there.
        # shellcheck disable=SC2012  # ls is the one portable way to ask for an owner; only the number is read
        owner=$(ls -ldn "$HOME" 2>/dev/null | sed 's/^[^ ]* *[^ ]* *\([0-9]*\).*/\1/')
        [ "$owner" = 0 ] || HOME=$(cd ~root && pwd)
        say "You are root, so HOME is root's: $HOME"
    fi
    [ -n "$HOME" ] || err "HOME is not set" "HOME=/home/you sh install.sh"
    case $HOME in /*) ;; *) err "HOME is not an absolute path: '$HOME'" "HOME=/home/you sh install.sh" ;; esac
    export HOME
}

# --- Install -----------------------------------------------------------------------------------------

install() {
    case $bin in *:*) err "$bin can't be an entry of PATH" "choose a directory without ':' with --prefix" 5 ;; esac
    find_python
    find_source
    find_completions
    refuse_strangers
    if [ "$dry_run" = yes ]; then
        tell_plan
        return
    fi
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    stage
    put_in_place
    advise
}

# Sets `python` to the first interpreter that will do, by running it: not the shim or the environment that was found,
# which are slow or come and go, but the interpreter behind it.
find_python() {
    python="" too_old=""
    if [ -n "${CODEX_MIRROR_PYTHON:-}" ]; then
        try_python "$CODEX_MIRROR_PYTHON"
        [ -n "$python" ] || err "CODEX_MIRROR_PYTHON is $CODEX_MIRROR_PYTHON, which is not a Python 3.10 or newer"
        return
    fi
    for candidate in $PYTHONS; do
        try_python "$candidate"
        [ -z "$python" ] || return 0
    done
    data=${XDG_DATA_HOME:-$HOME/.local/share}
    for candidate in $PYTHONS; do
        # A directory of one version has its python3.13, too; so the newest is found first.
        number=3.${candidate#python3.}
        for place in $PYTHON_PLACES "$PYTHON_FRAMEWORK/$number/bin" \
            "$PYTHON_OPT/python$number"*/bin "$PYTHON_OPT/python-$number"*/bin "$PYTHON_OPT/python/$number."*/bin \
            "$data/uv/python/cpython-$number."*/bin "$data/mise/installs/python/$number."*/bin \
            "$HOME/.pyenv/versions/$number."*/bin "$HOME/.asdf/installs/python/$number."*/bin \
            "$HOME/.nix-profile/bin" "$HOME/miniconda3/bin" "$HOME/anaconda3/bin" "$HOME/miniforge3/bin"; do
            try_python "$place/$candidate"
            [ -z "$python" ] || return 0
        done
    done
    err "no Python 3.10 or newer was found${too_old:+; too old:$too_old}" \
        "$(python_advice); for one that lies elsewhere, set CODEX_MIRROR_PYTHON"
}

# What brings one here. A system whose own is too old has the newer ones under other names, or none.
python_advice() {
    while read -r manager age advice; do
        if [ "$age" != first ] || [ -z "$too_old" ]; then
            if [ "$manager" = "$(uname -s)" ] || command -v "$manager" >/dev/null 2>&1; then
                [ "$(id -u)" -ne 0 ] || advice=${advice#sudo }
                printf '%s' "$advice"
                return
            fi
        fi
    done <<'END'
brew any brew install python
Darwin any install it from https://www.python.org/downloads/
dnf any sudo dnf install python3.12
zypper any sudo zypper install python312
apt-get first sudo apt install python3
apk first apk add python3
pacman first sudo pacman -S python
pkg any sudo pkg install python3
uv any uv python install 3.13
END
    printf 'install Python 3.10 or newer'
}

try_python() {
    found=$(command -v "$1") || return 0
    is_apples_stub "$found" && return
    answer=$("$found" -I -c '
import os, sys
behind = os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2])
in_environment = sys.prefix != sys.base_prefix and os.access(behind, os.X_OK)
print("%d.%d.%d" % sys.version_info[:3], sys.version_info >= (3, 10), behind if in_environment else sys.executable)
' 2>/dev/null </dev/null) || return 0
    case $answer in
        *" True /"*) ;;
        *" False "*) too_old="$too_old $found (${answer%% *})" && return ;;
        *) return ;;
    esac
    behind=${answer#* True }
    [ "$behind" = "$found" ] ||
        "$behind" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null </dev/null || return 0
    python=$behind python_version=${answer%% *}
}

# macOS has a python3 that only opens a window offering the developer tools, until they are there.
is_apples_stub() {
    [ "$1" = /usr/bin/python3 ] && [ "$(uname -s)" = Darwin ] && ! xcode-select -p >/dev/null 2>&1
}

# Sets `source`, a file or a URL: what CODEX_MIRROR_URL says, or the program beside this file, or the repository's.
find_source() {
    source=${CODEX_MIRROR_URL:-}
    beside=""
    case $0 in
        */install.sh) beside=${0%/*}/codex_mirror.py ;;
        install.sh) beside=./codex_mirror.py ;;
    esac
    if [ -z "$source" ] && [ -n "$beside" ] && [ -f "$0" ] && [ -f "$beside" ]; then
        source=$beside
        return
    fi
    if [ -z "$source" ] && [ -n "$STAMP_VERSION" ]; then source=$REPOSITORY/releases/download/v$STAMP_VERSION; fi
    [ -n "$source" ] || source=$RAW_FILES
    case $source in *.py) ;; *) source=${source%/}/codex_mirror.py ;; esac
    is_safe_url "$source" || err "it won't download from $source" "https:, file:///, or http: on this machine" 2
}

# What stands before an @ is no host.
is_safe_url() {
    case $1 in
        https://* | file:///*) ;;
        *@*) return 1 ;;
        http://localhost[:/]* | http://127.0.0.1[:/]* | "http://[::1]"[:/]*) ;;
        *) return 1 ;;
    esac
}

# Sets `completion_shells`: those asked for, and those that an earlier install of this copy wrote, which are kept up to
# date.
find_completions() {
    completion_shells=""
    for shell in bash zsh fish; do
        if has_completion "$(completion_file "$shell")" ||
            { [ "$completions" = yes ] && command -v "$shell" >/dev/null 2>&1; }; then
            completion_shells="$completion_shells $shell"
        fi
    done
}

has_completion() {
    is_ours "$1" && receipt_lines completion | grep -qxF "completion $1"
}

# Where each shell looks for what a user installs; zsh has no such place, and is told of this one.
completion_file() {
    data=${XDG_DATA_HOME:-$HOME/.local/share}
    case $1 in
        bash) printf '%s' "${BASH_COMPLETION_USER_DIR:-$data/bash-completion}/completions/codex-mirror" ;;
        zsh) printf '%s' "$data/zsh/site-functions/_codex-mirror" ;;
        fish) printf '%s' "${XDG_CONFIG_HOME:-$HOME/.config}/fish/completions/codex-mirror.fish" ;;
    esac
}

each_completion() {
    for shell in $completion_shells; do "$1" "$shell" "$(completion_file "$shell")"; done
}

refuse_strangers() {
    if is_there "$library" && ! [ -O "$library" ]; then refuse "$library"; fi
    if is_there "$launcher" && ! is_ours "$launcher"; then refuse "$launcher"; fi
    if is_there "$program" && ! is_ours "$receipt"; then refuse "$program"; fi
    if is_there "$receipt" && ! is_ours "$receipt"; then refuse "$receipt"; fi
    each_completion refuse_completion
}

refuse_completion() {
    if is_there "$2" && ! is_ours "$2"; then refuse "$2" "leave --completions out"; fi
}

refuse() {
    err "$1 is not ours, so it isn't replaced" "move it away, or ${2:-choose another place with --prefix}" 5
}

tell_plan() {
    say "Would use Python $python_version: $python"
    case $source in
        *://*) say "Would download $source" ;;
        *) say "Would copy $source" ;;
    esac
    if [ -n "$STAMP_SHA256" ]; then say "Would refuse it unless its SHA-256 is $STAMP_SHA256"; fi
    say "Would write $program, its bytecode, and $receipt"
    say "Would write $launcher"
    each_completion tell_completion
    if [ "$modify_path" = yes ]; then say "Would run $(quoted "$launcher") path setup --bin-dir $(quoted "$bin")"; fi
    say "Nothing was changed."
}

tell_completion() {
    say "Would write $2"
}

# Everything is made and checked beside its target first, in a directory that nobody else can get into. Until the last
# of it is there, nothing is replaced.
stage() {
    make_directory "$library"
    [ -O "$library" ] || refuse "$library"
    make_directory "$bin"
    make_stage "$library"
    staged=$new_stage
    fetch "$source" "$staged/codex_mirror.py"
    check_program "$staged/codex_mirror.py"
    ensure_written "$staged/codex-mirror" write_launcher
    ensure chmod +x "$staged/codex-mirror"
    make_stage "$bin"
    staged_launcher=$new_stage/codex-mirror
    ensure cp "$staged/codex-mirror" "$staged_launcher"
    each_completion stage_completion
    ensure_written "$staged/receipt" write_receipt
}

fetch() {
    case $1 in
        file://*) ensure cp "${1#file://}" "$2" ;;
        http://* | https://*) download "$1" "$2" ;;
        *) ensure cp "$1" "$2" ;;
    esac
    ensure chmod u=rw,go=r "$2"
}

download() {
    say "Downloading $1"
    if command -v curl >/dev/null 2>&1; then
        tool=with_curl
    elif wget --version 2>/dev/null | grep -q 'GNU Wget'; then
        tool=with_gnu_wget
    # Other wgets don't check certificates. With a digest that doesn't matter.
    elif command -v wget >/dev/null 2>&1 && { [ -n "$STAMP_SHA256" ] || [ "${1%%:*}" = http ]; }; then
        tool=with_wget
    else
        tool=with_python
    fi
    problem=$("$tool" "$1" "$2" 2>&1) && return
    case $problem in
        *"error: 404"* | *"ERROR 404"* | *"Error 404"* | *HTTP/1.?" 404"*)
            where="$REPOSITORY shows where it is now"
            err "$1 is not there (404)" "${CODEX_MIRROR_URL:+check CODEX_MIRROR_URL; }$where"
            ;;
        *"unknown url type"*) err "to download, curl, wget or a Python with ssl is needed" "install curl" ;;
        *) err "the download failed: ${problem:-$tool said nothing}" "are you online?" ;;
    esac
}

# Whatever answers, only https: may be where it sends us.
with_curl() {
    curl --fail --silent --show-error --globoff --proto "=${1%%:*}" --proto-redir '=https' --tlsv1.2 --location \
        --connect-timeout 20 --max-time 600 --output "$2" "$1"
}

# wget can't be told to stay with https: when it is sent on. With a digest that doesn't matter.
with_gnu_wget() {
    if [ -n "$STAMP_SHA256" ]; then redirects=5; else redirects=0; fi
    wget -nv --max-redirect="$redirects" --tries=1 --timeout=60 -O "$2" "$1"
}

with_wget() {
    wget -q -O "$2" "$1"
}

with_python() {
    "$python" -I -S -c '
import sys, urllib.request
class StayWithHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, answer, code, message, headers, address):
        if not address.startswith("https:"):
            raise OSError("it is sent on to %s, which is not https" % address)
        return super().redirect_request(request, answer, code, message, headers, address)
try:
    with urllib.request.build_opener(StayWithHttps).open(sys.argv[1], timeout=60) as answer:
        content = answer.read()
    with open(sys.argv[2], "wb") as file:
        file.write(content)
except Exception as error:
    error = error.reason if type(error) is urllib.error.URLError else error
    sys.exit(str(error) or type(error).__name__)
' "$1" "$2"
}

# A file that isn't the program is refused: another digest than the release's, an error page, half a file. Its bytecode
# stays beside it, so that Python compiles it once and not at the next start again.
check_program() {
    answer=$("$python" -I -S -c '
import hashlib, marshal, py_compile, sys
path, digest = sys.argv[1:]
with open(path, "rb") as file:
    found = hashlib.sha256(file.read()).hexdigest()
if digest and found != digest:
    sys.exit("its SHA-256 is %s instead of %s" % (found, digest))
try:
    compiled = py_compile.compile(path, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
except py_compile.PyCompileError as error:
    sys.exit("it is not a Python program: %s" % error.exc_value)
except OSError as error:
    sys.exit("its bytecode can\047t be written: %s" % error.strerror)
with open(compiled, "rb") as file:
    program = marshal.loads(file.read()[16:])
sys.argv = [path, "--version"]
exec(program, {"__name__": "__main__", "__file__": path})
' "$1" "$STAMP_SHA256" 2>&1 </dev/null)
    case $answer in "its "* | "it is not "*) err "$source was refused: $answer" ;; esac
    version=${answer#* }
    case $answer in
        *"$NEWLINE"*) version="" ;;
        codex-mirror" "[0-9]*.[0-9]*.[0-9]*) ;;
        *) version="" ;;
    esac
    [ -n "$version" ] || err "$source was refused: --version doesn't name a version of codex-mirror"
    [ "${STAMP_VERSION:-$version}" = "$version" ] || err "$source was refused: it is $version, not $STAMP_VERSION"
}

write_launcher() {
    printf '%s\n' "#!/bin/sh" "$MARK" "python=$(quoted "$python")" "prefix=$(quoted "$prefix")" \
        "start='$START'" "pythons='$PYTHONS'" "places='$PYTHON_PLACES'" &&
        cat <<'END'

# From here on it is the same on every machine. A command that isn't where it was installed any more, or is a copy, has
# its program beside itself.
# shellcheck disable=SC3013  # every sh that there is knows -ef
if ! [ "$0" -ef "$prefix/bin/codex-mirror" ]; then
    case $0 in /*) self=$0 ;; *) self=./$0 ;; esac
    while [ -L "$self" ]; do
        target=$(readlink "$self") || break
        case $target in /*) self=$target ;; *) self=${self%/*}/$target ;; esac
    done
    self=$(cd "${self%/*}/.." 2>/dev/null && pwd) && prefix=$self
fi
library=$prefix/share/codex-mirror

# -I -S: nothing from the environment, the current directory or site packages gets in.
[ -f "$python" ] && [ -x "$python" ] && exec "$python" -I -S -c "$start" "$library" "$0" "$@"

# That Python is gone: any other will do. macOS has one that only offers to install the developer tools.
for name in "${CODEX_MIRROR_PYTHON:-python3}" $pythons; do
    for place in "" $places; do
        python=$(command -v "${place:+$place/}$name") || continue
        [ "$python" = /usr/bin/python3 ] && [ "$(uname -s)" = Darwin ] && ! xcode-select -p >/dev/null 2>&1 && continue
        "$python" -I -S -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null </dev/null &&
            exec "$python" -I -S -c "$start" "$library" "$0" "$@"
    done
done
echo "codex-mirror: no Python 3.10 or newer was found" >&2
echo "hint: install one, or set CODEX_MIRROR_PYTHON" >&2
exit 1
END
}

stage_completion() {
    make_directory "${2%/*}"
    make_stage "${2%/*}"
    eval "staged_$1=\$new_stage/\${2##*/}"
    ensure_written "$new_stage/${2##*/}" write_completion
}

# The program writes them for the name that it is found by on PATH.
write_completion() {
    PATH=$staged:$PATH "$python" -I -S -c "$START" "$staged" "$staged/codex-mirror" completion "$shell" </dev/null &&
        printf '%s\n' "$MARK"
}

# Beside the directories of now it names those of earlier installs: who made a directory may remove it.
write_receipt() {
    {
        receipt_lines made
        receipt_lines completion
        printf '%s' "$made" | sed 's/^/made /'
        each_completion note_completion
    } | LC_ALL=C sort -u >"$staged/lines" &&
        printf '%s\n' "$MARK" "version $version" "prefix $prefix" "home $HOME" && cat "$staged/lines"
}

note_completion() {
    printf 'completion %s\n' "$2"
}

# The receipt goes first: whatever comes after it is known to an uninstall.
put_in_place() {
    old_version=$(receipt_lines version)
    old_version=${old_version#version }
    old_completions=$(receipt_lines completion)
    changed=no
    replace "$staged/receipt" "$receipt"
    made=""
    if ! cmp -s "$staged/codex_mirror.py" "$program"; then
        # A bytecode file is trusted when the second and the size are its source's. Two programs can share those.
        discard_bytecode
        replace "$staged/codex_mirror.py" "$program"
        is_there "$library/__pycache__" || ignore mv "$staged/__pycache__" "$library"
    fi
    replace "$staged_launcher" "$launcher"
    each_completion place_completion
    "$launcher" --version >/dev/null </dev/null || err "$launcher was written, but doesn't run"
    case $changed,$old_version in
        no,*) say "codex-mirror $version is up to date: $launcher" ;;
        *,"") say "Installed codex-mirror $version: $launcher" ;;
        *,"$version") say "Installed codex-mirror $version again: $launcher" ;;
        *) say "$(direction "$old_version" "$version") codex-mirror $old_version to $version: $launcher" ;;
    esac
}

direction() {
    "$python" -I -S -c '
import re, sys
before, now = ([int(number) for number in re.findall("[0-9]+", version)] for version in sys.argv[1:])
print("Upgraded" if before < now else "Downgraded")
' "$1" "$2"
}

place_completion() {
    eval "replace \"\$staged_$1\" \"\$2\""
}

replace() {
    if cmp -s "$1" "$2"; then return; fi
    ensure mv -f "$1" "$2"
    changed=yes
}

# The last line is the one next step, as it can be typed now. Who upgrades has taken it, and was told of the rest.
advise() {
    each_completion advise_completion
    # The same file can have several names.
    if first=$(command -v codex-mirror); then
        cmp -s "$first" "$launcher" || say "Note: $first comes before it on your PATH."
    fi
    next="codex-mirror create work" setup_failed=no
    if [ "$modify_path" = yes ]; then
        if ! "$launcher" path setup --bin-dir "$bin" </dev/null; then
            setup_failed=yes next="$(quoted "$launcher") create work"
        elif ! [ "$first" ]; then
            next="$next   (in a new shell)"
        fi
    elif [ -z "$old_version" ] && ! "$launcher" path status --bin-dir "$bin" >/dev/null 2>&1 </dev/null; then
        setup="$(quoted "$launcher") path setup"
        [ "$bin" = "${CODEX_MIRROR_BIN_DIR:-$HOME/.local/bin}" ] || setup="$setup --bin-dir $(quoted "$bin")"
        say "$bin is not on your PATH; to put it there: $setup"
        next="$(quoted "$launcher") create work"
    fi
    [ -n "$old_version" ] || say "next: $next"
    [ "$setup_failed" = no ] || err "codex-mirror is installed, but not each shell has $bin on its PATH yet"
}

advise_completion() {
    if printf '%s\n' "$old_completions" | grep -qxF "completion $2"; then return; fi
    say "Completions for $1: $2"
    case $1 in
        bash)
            say "    bash finds them by the package bash-completion 2, which needs bash 4.2 or newer (macOS has 3.2);"
            say "    without it by a line in your .bashrc: . $(quoted "$2")"
            ;;
        zsh) say "    zsh finds them by a line above compinit in your .zshrc: fpath=($(quoted "${2%/*}") \$fpath)" ;;
    esac
}

# --- Uninstall ---------------------------------------------------------------------------------------

uninstall() {
    if ! is_ours "$receipt" && ! is_ours "$launcher"; then
        say "codex-mirror is not installed below $prefix."
        [ "$purge" = no ] || err "without it the clones can't be removed" "install it first, or give its --prefix"
        return
    fi
    find_clones
    if [ "$dry_run" = yes ]; then
        tell_removal
        return
    fi
    if [ "$purge" = yes ]; then purge_clones; fi
    remove_path_block
    remove_shim
    remove_files
    case $none_left,$listed in
        yes,*) remove_mirror_home ;;
        no,yes) tell_clones ;;
        *) say "What is in $mirror_home stays." ;;
    esac
}

# Sets `works`, whether the program still runs, `clones`, a name a line, if they can be `listed`, and whether there will
# be `none_left`.
find_clones() {
    works=no listed=no clones="" none_left=no
    is_ours "$launcher" && "$launcher" --version >/dev/null 2>&1 </dev/null && works=yes
    [ "$works" = yes ] && clones=$("$launcher" list </dev/null) && listed=yes
    clones=$(printf '%s\n' "$clones" | cut -f 1)
    case $purge,$listed,$clones in yes,* | no,yes,"") none_left=yes ;; esac
}

tell_removal() {
    if [ "$purge" = yes ]; then
        for clone in $clones; do say "Would run $(quoted "$launcher") remove $clone${yes:+ --yes}"; done
    fi
    say "Would run $(quoted "$launcher") path remove --bin-dir $(quoted "$bin")"
    if has_shim; then say "Would run $(quoted "$launcher") shim remove"; fi
    receipt_lines completion | while IFS= read -r line; do say "Would remove ${line#completion }"; done
    say "Would remove $launcher"
    say "Would remove $program, its bytecode, and $receipt"
    say "Would remove $mirror_home, unless a clone or anything else that isn't ours is in it then"
    say "Nothing was changed."
}

# One after the other, as the program removes them: where something would be lost it says what, and asks, on the
# terminal, also when this script came through a pipe. The first that isn't removed is the end of it.
purge_clones() {
    [ "$works" = yes ] || err "codex-mirror doesn't run, so the clones can't be removed" "install it again first"
    [ "$listed" = yes ] || err "the clones can't be listed, so they can't be removed" "codex-mirror doctor"
    terminal=/dev/null
    if (: </dev/tty) 2>/dev/null; then terminal=/dev/tty; fi
    # shellcheck disable=SC2086  # no name of a clone needs quotes
    set -- $clones
    while [ "$#" -gt 0 ]; do
        "$launcher" remove "$1" ${yes:+--yes} <"$terminal" || err "codex-mirror stays, and so do its clones: $*" "" "$?"
        shift
    done
}

remove_path_block() {
    blocks=$(files_with_block)
    if [ "$works" = yes ]; then
        said=$("$launcher" path remove --bin-dir "$bin" </dev/null) ||
            err "$bin could not be taken out of the PATH block, so codex-mirror stays"
        [ -z "$blocks" ] || say "$said"
    elif [ -n "$blocks" ]; then
        warn "codex-mirror doesn't run, so its PATH block stays; take out the lines between"
        warn "'# >>> codex-mirror PATH >>>' and '# <<< codex-mirror PATH <<<' in:"
        warn "$blocks"
    fi
}

has_shim() {
    [ "$none_left" = yes ] && is_there "$mirror_home/shim/codex"
}

# Without a clone it starts nothing, and without the program nothing takes it away.
remove_shim() {
    if ! has_shim; then return; fi
    "$launcher" shim remove </dev/null || err "the shim could not be removed, so codex-mirror stays"
}

files_with_block() {
    zsh=${ZDOTDIR:-$HOME}
    for file in "$HOME/.bashrc" "$HOME/.bash_profile" "$HOME/.bash_login" "$HOME/.profile" "$zsh/.zshrc" \
        "$zsh/.zprofile" "${XDG_CONFIG_HOME:-$HOME/.config}/fish/conf.d/codex-mirror.fish"; do
        if grep -q '^# >>> codex-mirror PATH >>>' "$file" 2>/dev/null; then printf '%s\n' "$file"; fi
    done
}

# The receipt goes last: whoever is interrupted can start again.
remove_files() {
    directories=$(receipt_lines made | sed 's/^made //')
    receipt_lines completion | while IFS= read -r line; do remove_completion "${line#completion }"; done || exit
    if is_ours "$launcher"; then
        ensure rm -f "$launcher"
    elif is_there "$launcher"; then
        say "$launcher is not ours, so it stays."
    fi
    if is_ours "$receipt"; then
        ensure rm -f "$program"
        discard_bytecode
        sweep "$library"
        sweep "$bin"
        ensure rm -f "$receipt"
    fi
    remove_empty "$directories"
    say "Uninstalled codex-mirror from $prefix."
}

remove_completion() {
    if is_ours "$1"; then
        ensure rm -f "$1"
    elif is_there "$1"; then
        say "$1 is not ours, so it stays."
    fi
}

# Without clones and changes under way the program needs nothing of what it keeps for itself. All else stays.
remove_mirror_home() {
    if [ ! -d "$mirror_home" ]; then return; fi
    # A directory with neither our mark nor our registry is somebody's project, whatever CODEX_MIRROR_HOME says.
    if [ ! -f "$mirror_home/.codex-mirror-home" ] && ! grep -q '"clones"' "$mirror_home/registry.json" 2>/dev/null; then
        return
    fi
    ignore remove_directory "$mirror_home/clones"
    if ! is_there "$mirror_home/clones" && ! is_there "$mirror_home/journal.json" &&
        ! grep -q -e '"id"' -e '"name"' "$mirror_home/registry.json" 2>/dev/null; then
        if grep -q "^# Made by codex-mirror:" "$mirror_home/.gitignore" 2>/dev/null; then
            ignore rm -f "$mirror_home/.gitignore"
        fi
        for name in lock login.lock reserve registry.json registry.json.previous events.log .codex-mirror-home; do
            ignore rm -f "$mirror_home/$name"
        done
        ignore remove_directory "$mirror_home"
    fi
    if is_there "$mirror_home"; then say "$mirror_home stays, with what is in it."; fi
}

tell_clones() {
    commands=${CODEX_MIRROR_BIN_DIR:-$HOME/.local/bin}
    say "Your clones stay in $mirror_home, and their commands in $commands:"
    for clone in $clones; do say "    $clone"; done
    [ "$commands" = "$bin" ] || return 0
    say "If a new shell doesn't find them any more, add this line to its rc file:"
    say "    export PATH=$(quoted "$commands"):\"\$PATH\""
}

# --- What is ours ------------------------------------------------------------------------------------

is_there() {
    [ -e "$1" ] || [ -L "$1" ]
}

# A file that somebody else owns can bear our mark.
is_ours() {
    # grep takes a pattern a line.
    [ -f "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && grep -qxF "$MARK$NEWLINE$MARKS_OF_1_0_0" "$1"
}

# The receipt's lines of one kind: version, made (a directory), completion (a file). Where the prefix, or HOME with it,
# was moved since, what lay below its old name is named below the new one.
receipt_lines() {
    is_ours "$receipt" || return 0
    old_prefix=$(sed -n 's/^prefix //p' "$receipt")
    old_home=$(sed -n 's/^home //p' "$receipt")
    sed -n "s/^$1 //p" "$receipt" | while IFS= read -r line; do
        case $line/ in
            "${old_prefix:-/nowhere}"/*) line=$prefix${line#"$old_prefix"} ;;
            "${old_home:-/nowhere}"/*) if ! [ -d "$old_home" ]; then line=$HOME${line#"$old_home"}; fi ;;
        esac
        printf '%s\n' "$1 $line"
    done
}

# --- Files -------------------------------------------------------------------------------------------

make_directory() {
    if [ -z "$1" ] || [ -d "$1" ]; then return; fi
    make_directory "${1%/*}"
    # Another installer may be quicker.
    problem=$(mkdir "$1" 2>&1) || [ -d "$1" ] ||
        err "the directory $1 could not be made: ${problem##*: }" "choose another place with --prefix"
    made=$made$1$NEWLINE
}

remove_empty() {
    # Backwards, so that what is inside comes first.
    printf '%s\n' "$1" | LC_ALL=C sort -r | while IFS= read -r directory; do
        ignore remove_directory "$directory"
    done
}

# An empty one. The Finder leaves a file in each that it has shown.
remove_directory() {
    if [ "$(ls -A "$1")" = .DS_Store ]; then rm -f "$1/.DS_Store"; fi
    rmdir "$1"
}

# Sets `new_stage` to a new directory in $1, made by us at this moment: whatever has such a name already isn't touched,
# and nobody else can put anything into it.
make_stage() {
    sweep "$1"
    number=0
    until (umask 077 && mkdir "$1/.codex-mirror.new-$$-$number") 2>/dev/null; do
        if ! is_there "$1/.codex-mirror.new-$$-$number"; then err "no directory can be made in $1"; fi
        number=$((number + 1))
    done
    new_stage=$1/.codex-mirror.new-$$-$number
    stages=$stages$new_stage$NEWLINE
    ensure_written "$new_stage/mark" write_mark
}

write_mark() {
    printf '%s\n' "$MARK"
}

# Removes what installers that were killed left in $1: our own directories with our mark inside.
sweep() {
    for left in "$1"/.codex-mirror.new-*; do
        if [ -d "$left" ] && [ ! -L "$left" ] && [ -O "$left" ] && is_ours "$left/mark"; then
            owner=${left##*.new-}
            kill -0 "${owner%%-*}" 2>/dev/null || ignore rm -rf "$left"
        fi
    done
}

# Takes back what is staged, and the directories made for it, if it hasn't been put in place.
clean_up() {
    printf '%s' "$stages" | while IFS= read -r stage; do ignore rm -rf "$stage"; done
    remove_empty "$made"
}

discard_bytecode() {
    if [ ! -L "$library/__pycache__" ]; then
        ignore rm -f "$library"/__pycache__/codex_mirror.*.pyc
        rmdir "$library/__pycache__" 2>/dev/null
    fi
    return 0
}

quoted() {
    printf "'%s'" "$(printf '%s' "$1" | LC_ALL=C sed "s/'/'\\\\''/g")"
}

# --- Five verbs --------------------------------------------------------------------------------------

say() {
    printf '%s\n' "$1"
}

warn() {
    printf 'install.sh: %s\n' "$1" >&2
}

err() {
    warn "$1"
    if [ -n "${2:-}" ]; then printf 'hint: %s\n' "$2" >&2; fi
    exit "${3:-1}"
}

need_cmds() {
    missing=""
    for name in "$@"; do
        command -v "$name" >/dev/null 2>&1 || missing="$missing $name"
    done
    [ -z "$missing" ] || err "these commands are needed, and were not found:$missing"
}

ensure() {
    "$@" || err "this failed: $*"
}

ensure_written() {
    "$2" >"$1" || err "$1 could not be written"
}

# For what may fail without harm.
ignore() {
    "$@" 2>/dev/null || true
}

}

OPTIONS_GIVEN=$#
main "$@"
