#!/bin/sh
# Verifies a bundle with a POSIX shell, openssl (1.1.1 or later) and sha256sum alone:
# the signature over the attestation, both manifests, and that nothing else is there.
#
#   sh verify.sh [BUNDLE [PUBLIC-KEY.pem]]
#
# BUNDLE is the folder of this script by default. Without a public key from outside, the bundle's
# own is used: that shows integrity, and nobody vouches for it.
# Exit status: 0 whole, 1 not whole, 4 bad input.
set -u
LC_ALL=C
export LC_ALL

key=${2:-public-key.pem}
if [ $# -ge 2 ]; then
    case $key in
        /*) ;;
        *) key=$(pwd)/$key ;;
    esac
fi
cd "${1:-$(dirname "$0")}" || exit 4
is_bundle() { # one of the files that sealing writes is enough to look on
    for file in attestation.dsse.json bagit.txt bag-info.txt manifest-sha256.txt tagmanifest-sha256.txt; do
        if [ -e "$file" ] || [ -h "$file" ]; then return 0; fi
    done
    return 1
}
if [ $# -ge 2 ]; then
    case $(cd "$(dirname "$key")" && pwd -P)/ in
        "$(pwd -P)"/*) echo "$2: public key: got one inside the bundle, expected one from outside" >&2; exit 4 ;;
    esac
fi
is_bundle || { echo "$(pwd): bundle: got none, expected the folder of one sealed run; name another" >&2; exit 4; }
[ -r "$key" ] || { echo "$key: public key: cannot be read" >&2; exit 4; }
work=$(mktemp -d) || exit 4
trap 'rm -rf "$work"' EXIT
bad=0

finding() { # names may hold what commands a terminal; echo would read backslashes in them as well
    bad=1
    printf '%s\n' "$1" | tr '\001-\011\013-\037\177' '[?*]' >&2
}

take() { # take PATTERN < one line: prints what the group holds, only where the whole line matches
    sed -n "s|^$1\$|\\1|p"
}

# 1. Regular files only, no empty folder.
find . ! -type f ! -type d > "$work/odd"
find . -type d -exec sh -c 'for d do [ -n "$(ls -A "$d")" ] || echo "$d"; done' sh {} + >> "$work/odd"
while IFS= read -r path; do
    finding "ODD $path: a link, a special file or an empty folder"
done < "$work/odd"

# 2. The attestation is one envelope in its one spelling.
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
    finding "ATTESTATION_MALFORMED attestation.dsse.json: not the one spelling of an envelope"
for part in payload sig; do
    eval "text=\$$part"
    printf '%s' "$text" | openssl base64 -d -A > "$work/$part"
    [ "$(openssl base64 -A -in "$work/$part")" = "$text" ] ||
        finding "ATTESTATION_MALFORMED attestation.dsse.json: $part: not canonical base64"
done

# 3. The signature over its pre-authentication encoding (DSSE v1). openssl needs files, not a pipe.
{
    printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(($(wc -c < "$work/payload")))"
    cat "$work/payload"
} > "$work/pae"
openssl pkey -pubin -in "$key" -noout -text 2> "$work/error" | grep -qi ed25519 ||
    finding "KEY_UNREADABLE $key: not an Ed25519 public key"
# Key ids are signed by nobody: they must name the key that signed, or mislead whoever goes by them.
# The bundle's own key is listed in a manifest; here only its spelling is looked at, and whose it is.
id_of() { # id_of KEY
    openssl pkey -pubin -in "$1" -outform DER 2> "$work/error" | sha256sum | cut -c 1-64
}
id=$(id_of "$key")
[ "$keyid" = "sha256:$id" ] ||
    finding "KEY_MISMATCH attestation.dsse.json: the key id is not of the key that signed"
if [ -f public-key.pem ] && [ ! -h public-key.pem ]; then
    openssl pkey -pubin -in public-key.pem -out "$work/own" 2> "$work/error"
    cmp -s "$work/own" public-key.pem ||
        finding "KEY_UNREADABLE public-key.pem: not one public key in plain PEM"
    [ "$(id_of public-key.pem)" = "$id" ] ||
        finding "KEY_MISMATCH public-key.pem: not the key that signed"
fi
openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in "$work/pae" -sigfile "$work/sig" \
    > "$work/openssl" 2>&1 ||
    finding "SIGNATURE_INVALID attestation.dsse.json: the signature does not hold"

# 4. The manifests are those that were signed.
hex='[0-9a-f]\{64\}'
subject() { # subject FIRST SECOND: the statement ends in both subjects
    take '{.*"subject":\[{"digest":{"sha256":"'"$1"'"},"name":"manifest-sha256.txt"},{"digest":{"sha256":"'"$2"'"},"name":"tagmanifest-sha256.txt"}\]}' < "$work/payload"
}
same() { # same FILE DIGEST
    [ "$(sha256sum < "$1" | cut -c 1-64)" = "$2" ] ||
        finding "DIGEST_MISMATCH $1: not the file that was signed"
}
same manifest-sha256.txt "$(subject '\('"$hex"'\)' "$hex")"
same tagmanifest-sha256.txt "$(subject "$hex" '\('"$hex"'\)')"

# 5. Both manifests are plain lists, each of its own files; every listed file has its digest.
not_plain() { # not_plain MANIFEST OWN-PATHS: prints every line that a reader could take for another
    grep -v '^[0-9a-f]\{64\}  [^ ]' "$1"
    [ -z "$(tail -c 1 "$1")" ] || echo "(the last line has no end)"
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
        continue # such a path may lead outside
    fi
    sha256sum -c "$manifest" > "$work/sums" 2> "$work/error" || {
        grep -v ': OK$' "$work/sums" > "$work/failed"
        while IFS= read -r line; do
            finding "DIGEST_MISMATCH ${line%: FAILED*}: not the file that $manifest lists, or missing"
        done < "$work/failed"
        finding "MANIFEST_MISMATCH $manifest: does not hold"
    }
done

# 6. Every file is listed, or was added later for this attestation. (That every listed file is
#    there was seen in 5.) Who signed or stamped it, gateproof verify says, or ssh-keygen and openssl.
{
    echo ./attestation.dsse.json
    echo ./tagmanifest-sha256.txt
    sed 's|^[0-9a-f]*  |./|' manifest-sha256.txt tagmanifest-sha256.txt
} | sort > "$work/listed"
find . -type f | sort > "$work/found"
comm -13 "$work/listed" "$work/found" > "$work/extra"
attested=$(sha256sum < attestation.dsse.json | cut -c 1-64)
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
    finding "FILE_UNLISTED ${path#./}: there, but not listed"
done < "$work/extra"

[ "$bad" = 0 ] || { echo "not whole" >&2; exit 1; }
result=$(take '.*,"result":"\([a-z]*\)","sealed":".*' < "$work/payload")
echo "whole: every file is as it was sealed"
if [ $# -ge 2 ]; then
    echo "signed by the key in $2"
else
    echo "signer unknown: integrity only, nobody vouches for it"
fi
echo "attested: $result"
