#!/bin/sh
# Needs a POSIX shell with its usual programs, OpenSSL 3 or later (neither LibreSSL nor 1.1.1), and
# sha256sum or shasum. Verifies the files of a bundle with them only: the signature over the
# attestation, both manifests, and that the bundle has no other file.
set -u
LC_ALL=C
CDPATH=
export LC_ALL CDPATH

usage() {
    cat << 'TEXT'
sh verify.sh [BUNDLE [PUBLIC-KEY.pem]]

Verifies the files of a bundle with a shell, OpenSSL 3 and sha256sum (or shasum) only. BUNDLE is the
folder of one sealed run, and by default the folder of this script; unpack a ZIP archive first.
Without a public key from outside, the script uses the key in the bundle: that shows integrity, not
origin.

Checked: the signature over the attestation, both manifests, the digest of each file, and that there
is no other file.
TEXT
    not_checked
    echo
    echo "Exit status: 0 whole, 1 not whole, 4 bad input, or a program that is missing or too old."
}

not_checked() {
    cat << 'TEXT'
Not checked by this script (gateproof verify checks it): that the verdicts and the result follow from
the records; that report.html and the exports show them; that the files agree with each other; what
judged (checks, catalogue); who signed off, by which keys; who made a timestamp; names that look alike.
TEXT
}

bad_input() {
    printf '%s\n' "$1" >&2
    exit 4
}

case ${1:-} in
    -h | --help) usage; exit 0 ;;
    --) shift ;;
    -*) bad_input "$1: option: got an unknown one, expected --help, or a bundle; name a path as ./$1" ;;
esac
[ $# -le 2 ] || bad_input "arguments: got $#, expected at most a bundle and a public key; see --help"

# 0. The programs are there: without one of them a check would be left out, and an older openssl would
#    call a valid signature invalid.
for program in cat cmp cut dirname find grep head ls mktemp openssl rm sed sort tail tr uniq wc; do
    command -v "$program" > /dev/null 2>&1 ||
        bad_input "$program: got none on the PATH, expected it; install it (openssl: 3 or later)"
done
version=$(openssl version 2> /dev/null)
case $version in
    "OpenSSL "[3-9].* | "OpenSSL "[1-9][0-9]*.*) ;;
    *) bad_input "openssl: got ${version:-no version}, expected OpenSSL 3 or later; install it, and put its folder first on the PATH (on macOS: brew install openssl@3)" ;;
esac
if command -v sha256sum > /dev/null 2>&1; then
    sha256() { sha256sum "$@"; }
elif command -v shasum > /dev/null 2>&1; then
    sha256() { shasum -a 256 "$@"; }
else
    bad_input "sha256sum: got neither it nor shasum, expected one of them; install coreutils or perl"
fi

key=${2:-public-key.pem}
if [ $# -ge 2 ]; then
    case $key in
        /*) ;;
        *) key=$(pwd)/$key ;;
    esac
fi
if [ $# -ge 1 ] && [ ! -d "$1" ]; then
    if [ -e "$1" ]; then got="a file"; else got="no such path"; fi
    case $(head -c 2 "$1" 2> /dev/null | tr -d '\000') in PK) got="a ZIP archive" ;; esac
    bad_input "$1: bundle: got $got, expected the folder of one sealed run; unpack an archive first, such as with unzip"
fi
cd -- "${1:-$(dirname -- "$0")}" || exit 4
is_bundle() { # true if any of the files that sealing writes exists
    for file in attestation.dsse.json bagit.txt bag-info.txt manifest-sha256.txt tagmanifest-sha256.txt; do
        if [ -e "$file" ] || [ -h "$file" ]; then return 0; fi
    done
    return 1
}
if [ $# -ge 2 ]; then
    case $(cd -- "$(dirname -- "$key")" && pwd -P)/ in
        "$(pwd -P)"/*) bad_input "$2: public key: got one inside the bundle, expected one from outside" ;;
    esac
fi
is_bundle || bad_input "$(pwd): bundle: got none, expected the folder of one sealed run; name another"
[ -f "$key" ] && [ -r "$key" ] || bad_input "$key: public key: cannot be read"
if grep -q '^-----BEGIN .*PRIVATE KEY-----' "$key"; then
    bad_input "$key: public key: got a private key, expected its public half; name the .pem of it"
fi
work=$(mktemp -d) || exit 4
trap 'rm -rf "$work"' EXIT
bad=0

finding() { # names can contain control characters, and echo would interpret their backslashes
    bad=1
    printf '%s\n' "$1" | sed 's/[[:cntrl:]]/?/g' >&2
}

take() { # take PATTERN < one line: prints the pattern's group if the whole line matches
    sed -n "s|^$1\$|\\1|p"
}

# 1. The bundle has regular files only, and no empty folder.
find . ! -type f ! -type d > "$work/odd"
find . -type d -exec sh -c 'for d do [ -n "$(ls -A "$d")" ] || echo "$d"; done' sh {} + >> "$work/odd"
while IFS= read -r path; do
    finding "ODD $path: a link, a special file or an empty folder"
done < "$work/odd"

# 2. The attestation is one envelope in its canonical form.
b64='[A-Za-z0-9+/]*=*'
type=application/vnd.in-toto+json
head='{"payload":"'
middle='","payloadType":"'$type'","signatures":\[{"keyid":"'
for file in attestation.dsse.json manifest-sha256.txt tagmanifest-sha256.txt; do
    [ -f "$file" ] && [ ! -h "$file" ] || { finding "FILE_MISSING $file: missing"; exit 1; }
done
payload=$(take "$head"'\('"$b64"'\)'"$middle"'sha256:[0-9a-f]*","sig":"'"$b64"'"}\]}' < attestation.dsse.json)
keyid=$(take "$head$b64$middle"'\(sha256:[0-9a-f]*\)","sig":"'"$b64"'"}\]}' < attestation.dsse.json)
sig=$(take "$head$b64$middle"'sha256:[0-9a-f]*","sig":"\('"$b64"'\)"}\]}' < attestation.dsse.json)
printf '{"payload":"%s","payloadType":"%s","signatures":[{"keyid":"%s","sig":"%s"}]}' \
    "$payload" "$type" "$keyid" "$sig" > "$work/envelope"
cmp -s "$work/envelope" attestation.dsse.json ||
    finding "ATTESTATION_MALFORMED attestation.dsse.json: not the canonical form of an envelope"
for part in payload sig; do
    eval "text=\$$part"
    printf '%s' "$text" | openssl base64 -d -A > "$work/$part"
    [ "$(openssl base64 -A -in "$work/$part")" = "$text" ] ||
        finding "ATTESTATION_MALFORMED attestation.dsse.json: $part: not canonical base64"
done

# 3. The signature is valid for the pre-authentication encoding (DSSE v1). openssl needs files, not
#    a pipe.
{
    printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(($(wc -c < "$work/payload")))"
    cat "$work/payload"
} > "$work/pae"
is_key() { # is_key FILE: true for an Ed25519 public key
    openssl pkey -pubin -in "$1" -noout -text 2> "$work/error" | grep -qi ed25519
}
signed_by() { # signed_by FILE: true if the signature is valid by this key
    openssl pkeyutl -verify -pubin -inkey "$1" -rawin -in "$work/pae" -sigfile "$work/sig" \
        > "$work/openssl" 2>&1
}
checkable=1
is_key "$key" || {
    checkable=0
    finding "KEY_UNREADABLE $key: not an Ed25519 public key"
}
[ -s "$work/sig" ] || checkable=0
# No signature covers the key id: a wrong one would mislead a reader, so it must name the key that
# signed. A manifest lists the key in the bundle; this step checks its form and that it signed.
id_of() { # id_of KEY
    openssl pkey -pubin -in "$1" -outform DER 2> "$work/error" | sha256 | cut -c 1-64
}
id=$(id_of "$key")
[ "$keyid" = "sha256:$id" ] ||
    finding "KEY_MISMATCH attestation.dsse.json: the key id is not that of $key"
if [ -f public-key.pem ] && [ ! -h public-key.pem ]; then
    openssl pkey -pubin -in public-key.pem -out "$work/own" 2> "$work/error"
    cmp -s "$work/own" public-key.pem ||
        finding "KEY_UNREADABLE public-key.pem: not one public key in plain PEM"
    [ "$(id_of public-key.pem)" = "$id" ] ||
        finding "KEY_MISMATCH public-key.pem: not the key in $key"
fi
at=attestation.dsse.json
if [ $checkable = 0 ]; then
    finding "SIGNATURE_NOT_CHECKED $at: no signature or no key that can be read"
elif signed_by "$key"; then
    :
elif [ $# -ge 2 ] && is_key public-key.pem && signed_by public-key.pem; then
    finding "WRONG_SIGNER $at: signed by the key in the bundle, expected the key in $2"
else
    finding "SIGNATURE_INVALID $at: the signature is not valid by $key"
fi

# 4. Both manifests are the signed ones.
hex='[0-9a-f]\{64\}'
subject() { # subject FIRST SECOND: prints a digest; the statement ends with both subjects
    take '{.*"subject":\[{"digest":{"sha256":"'"$1"'"},"name":"manifest-sha256.txt"},{"digest":{"sha256":"'"$2"'"},"name":"tagmanifest-sha256.txt"}\]}' < "$work/payload"
}
same() { # same FILE DIGEST
    [ "$(sha256 < "$1" | cut -c 1-64)" = "$2" ] ||
        finding "DIGEST_MISMATCH $1: not the signed file"
}
same manifest-sha256.txt "$(subject '\('"$hex"'\)' "$hex")"
same tagmanifest-sha256.txt "$(subject "$hex" '\('"$hex"'\)')"

# 5. Each manifest is a plain list of its own files; every listed file has its digest.
not_plain() { # not_plain MANIFEST OWN-PATHS: prints every line that readers could interpret otherwise
    grep -v '^[0-9a-f]\{64\}  [^ ]' "$1"
    [ -z "$(tail -c 1 "$1")" ] || echo "(the last line has no newline)"
    cut -c 67- "$1" > "$work/paths"
    grep -E '(^|/)\.{0,2}(/|$)|[\\%]' "$work/paths"
    grep -vE "$2" "$work/paths"
    sort "$work/paths" | uniq -d
}
for manifest in manifest-sha256.txt tagmanifest-sha256.txt; do
    case $manifest in
        tag*) own='^(bagit|bag-info|manifest-sha256|VERIFY)\.txt$|^verify\.sh$|^public-key\.pem$' ;;
        *) own='^data/' ;;
    esac
    not_plain "$manifest" "$own" > "$work/odd"
    if [ -s "$work/odd" ]; then
        while IFS= read -r line; do
            finding "MANIFEST_MALFORMED $manifest: $line"
        done < "$work/odd"
        continue # such a path can be outside the bundle
    fi
    sha256 -c "$manifest" > "$work/sums" 2> "$work/error" || {
        grep -v ': OK$' "$work/sums" > "$work/failed"
        while IFS= read -r line; do
            finding "DIGEST_MISMATCH ${line%: FAILED*}: not the file that $manifest lists, or missing"
        done < "$work/failed"
        finding "MANIFEST_MISMATCH $manifest: the files do not match it"
    }
done

# 6. Every file is listed, or was added later for this attestation. (Step 5 found every listed file.)
#    gateproof verify checks who signed or stamped an added file, as ssh-keygen and openssl can.
{
    echo ./attestation.dsse.json
    echo ./tagmanifest-sha256.txt
    sed 's|^[0-9a-f]*  |./|' manifest-sha256.txt tagmanifest-sha256.txt
} | sort > "$work/listed"
find . -type f | sort > "$work/found"
sort "$work/listed" "$work/listed" "$work/found" | uniq -u > "$work/extra" # found, and not listed
attested=$(sha256 < attestation.dsse.json | cut -c 1-64)
signoff='{"at":"[^"]*","attestation":"sha256:'$attested'",.*"schema":"https://gateproof.dev/signoff/v1",.*}'
while IFS= read -r path; do
    case $path in
        ./timestamps/*/*) ;;
        ./timestamps/*.tsr)
            openssl ts -reply -in "$path" -text 2> "$work/error" |
                sed -n 's/^    [0-9a-f]* - \([0-9a-f -]\{47\}\).*/\1/p' | tr -d ' \n-' > "$work/imprint"
            [ "$(cat "$work/imprint")" = "$attested" ] ||
                finding "TIMESTAMP_MALFORMED ${path#./}: no timestamp over this attestation"
            continue
            ;;
    esac
    statement=${path%.sig}
    case $path in
        ./signoffs/*/*) ;;
        ./signoffs/*.json | ./signoffs/*.json.sig)
            if [ -f "$statement" ] && [ -f "$statement.sig" ] &&
                [ "$(take "\\($signoff\\)" < "$statement")" = "$(cat "$statement")" ] &&
                grep -q '^-----BEGIN SSH SIGNATURE-----$' "$statement.sig"; then
                continue
            fi
            finding "SIGNOFF_MALFORMED ${path#./}: no sign-off for this attestation"
            continue
            ;;
    esac
    finding "FILE_UNLISTED ${path#./}: in the bundle, but not listed"
done < "$work/extra"

[ "$bad" = 0 ] || { echo "not whole" >&2; exit 1; }
result=$(take '.*,"result":"\([a-z]*\)","sealed":".*' < "$work/payload")
echo "whole: every file is as it was sealed"
if [ $# -ge 2 ]; then
    echo "signed by the key in $2"
    echo "the signer claims: $result"
else
    echo "signer unknown: this shows integrity, not origin"
    echo "the unknown signer claims: $result"
fi
echo
not_checked
