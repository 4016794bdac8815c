"""Language codes in all their forms, and which languages and texts are written without blanks between words.

The forms are ISO 639-1 (`zh`), 639-2 and 639-3 (`zho`, `chi`, `cmn`), BCP 47 (`zh-Hant-TW`), FLORES (`zho_Hans`),
locales (`zh_CN.UTF-8`), and a few English names (`Chinese`), in any case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple


class Language(NamedTuple):
    """A language, and the script it is written in."""

    code: str
    """ISO 639-1 in lower case if there is such a code, else ISO 639-3; a code that is not known, as it was given."""
    script: str
    """ISO 15924, such as `Latn`: what the code names, or what is customary in `CUSTOMARY`, or empty."""


CHINESE, JAPANESE, KOREAN = "Hani", "Jpan", "Kore"
"""The scripts that `Language.script` uses for all their varieties."""
VARIETIES = {
    **dict.fromkeys(("Hans", "Hant", "Hanb", "Bopo"), CHINESE),
    **dict.fromkeys(("Hira", "Kana", "Hrkt"), JAPANESE),
    **dict.fromkeys(("Hang", "Jamo"), KOREAN),
}
WITHOUT_BLANKS = {
    CHINESE: "\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3105-\u312f\u31a0-\u31bf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff",
    JAPANESE: "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9d\U0001aff0-\U0001b16f",
    "Thai": "\u0e01-\u0e5b",
    "Laoo": "\u0e81-\u0edf",
    "Tibt": "\u0f00-\u0fff",
    "Mymr": "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f",
    "Khmr": "\u1780-\u17ff\u19e0-\u19ff",
    "Tale": "\u1950-\u197f",
    "Talu": "\u1980-\u19df",
    "Lana": "\u1a20-\u1aaf",
    "Bali": "\u1b00-\u1b7f",
    "Yiii": "\ua000-\ua4cf",
    "Vaii": "\ua500-\ua63f",
    "Java": "\ua980-\ua9df",
    "Tavt": "\uaa80-\uaadf",
}
"""The scripts that are written without blanks between words, and their characters as ranges of a regular expression.

Japanese is also written with the characters of Chinese.
"""
CUSTOMARY = {
    code: script
    for script, codes in {
        CHINESE: "zh yue wuu nan hak hsn gan lzh cdo cjy cpx csp cnp czh czo mnp ltc och",
        JAPANESE: "ja ojp ryu",
        KOREAN: "ko",
        "Thai": "th nod sou tts kxm",
        "Laoo": "lo",
        "Khmr": "km",
        "Mymr": "my shn mnw rki blk ksw",
        "Tibt": "bo dz adx khg lbj sip xct",
        "Yiii": "ii",
        "Talu": "khb",
        "Tale": "tdd",
        "Tavt": "blt",
    }.items()
    for code in codes.split()
}
"""The customary script of languages that are written without blanks, and of Korean, by `Language.code`."""

ISO_639 = """
    aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara,arb as:asm av:ava ay:aym,ayr az:aze,azj ba:bak be:bel
    bg:bul bi:bis bm:bam bn:ben bo:bod,tib br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre cs:ces,cze cu:chu cv:chv
    cy:cym,wel da:dan de:deu,ger dv:div dz:dzo ee:ewe el:ell,gre en:eng eo:epo es:spa et:est,ekk eu:eus,baq
    fa:fas,per,pes ff:ful fi:fin fj:fij fo:fao fr:fra,fre fy:fry ga:gle gd:gla gl:glg gn:grn,gug gu:guj gv:glv ha:hau
    he:heb,iw hi:hin ho:hmo hr:hrv ht:hat hu:hun hy:hye,arm hz:her ia:ina id:ind,in ie:ile ig:ibo ii:iii ik:ipk io:ido
    is:isl,ice it:ita iu:iku ja:jpn,jp,japanese jv:jav,jw ka:kat,geo kg:kon ki:kik kj:kua kk:kaz kl:kal
    km:khm,khmer,cambodian kn:kan ko:kor,korean kr:kau ks:kas ku:kur,kmr kv:kom kw:cor ky:kir la:lat lb:ltz lg:lug
    li:lim ln:lin lo:lao lt:lit lu:lub lv:lav,lvs mg:mlg,plt mh:mah mi:mri,mao mk:mkd,mac ml:mal mn:mon,khk mr:mar
    ms:msa,may,zsm mt:mlt my:mya,bur,burmese na:nau nb:nob nd:nde ne:nep,npi ng:ndo nl:nld,dut nn:nno no:nor nr:nbl
    nv:nav ny:nya oc:oci oj:oji om:orm,gaz or:ori,ory os:oss pa:pan pi:pli pl:pol ps:pus,pbt pt:por qu:que,quy rm:roh
    rn:run ro:ron,rum ru:rus rw:kin sa:san sc:srd sd:snd se:sme sg:sag sh:hbs si:sin sk:slk,slo sl:slv sm:smo sn:sna
    so:som sq:sqi,alb,als sr:srp ss:ssw st:sot su:sun sv:swe sw:swa,swh ta:tam te:tel tg:tgk th:tha,thai ti:tir tk:tuk
    tl:tgl,fil tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi ty:tah ug:uig uk:ukr ur:urd uz:uzb,uzn ve:ven vi:vie vo:vol
    wa:wln wo:wol xh:xho yi:yid,ydd,ji yo:yor za:zha zh:zho,chi,cmn,cn,zhs,zht,chinese,mandarin zu:zul
    bo:tibetan yue:cantonese dz:dzongkha lo:laotian
"""
"""Each ISO 639-1 code with its others: ISO 639-2, 639-3, the main member of a macrolanguage, old codes, names."""
CANONICAL = {
    other: code for entry in ISO_639.split() for code, _, rest in [entry.partition(":")] for other in rest.split(",")
}
NAMES = """
    aa Afar; ab Abkhazian; ae Avestan; af Afrikaans; ak Akan; am Amharic; an Aragonese; ar Arabic; as Assamese;
    av Avaric; ay Aymara; az Azerbaijani; ba Bashkir; be Belarusian; bg Bulgarian; bi Bislama; bm Bambara;
    bn Bengali; bo Tibetan; br Breton; bs Bosnian; ca Catalan; ce Chechen; ch Chamorro; co Corsican; cr Cree;
    cs Czech; cu Church Slavic; cv Chuvash; cy Welsh; da Danish; de German; dv Divehi; dz Dzongkha; ee Ewe;
    el Greek; en English; eo Esperanto; es Spanish; et Estonian; eu Basque; fa Persian; ff Fulah; fi Finnish;
    fj Fijian; fo Faroese; fr French; fy Western Frisian; ga Irish; gd Scottish Gaelic; gl Galician; gn Guarani;
    gu Gujarati; gv Manx; ha Hausa; he Hebrew; hi Hindi; ho Hiri Motu; hr Croatian; ht Haitian Creole; hu Hungarian;
    hy Armenian; hz Herero; ia Interlingua; id Indonesian; ie Interlingue; ig Igbo; ii Sichuan Yi; ik Inupiaq;
    io Ido; is Icelandic; it Italian; iu Inuktitut; ja Japanese; jv Javanese; ka Georgian; kg Kongo; ki Kikuyu;
    kj Kuanyama; kk Kazakh; kl Kalaallisut; km Khmer; kn Kannada; ko Korean; kr Kanuri; ks Kashmiri; ku Kurdish;
    kv Komi; kw Cornish; ky Kyrgyz; la Latin; lb Luxembourgish; lg Ganda; li Limburgish; ln Lingala; lo Lao;
    lt Lithuanian; lu Luba-Katanga; lv Latvian; mg Malagasy; mh Marshallese; mi Maori; mk Macedonian; ml Malayalam;
    mn Mongolian; mr Marathi; ms Malay; mt Maltese; my Burmese; na Nauru; nb Norwegian Bokmål; nd North Ndebele;
    ne Nepali; ng Ndonga; nl Dutch; nn Norwegian Nynorsk; no Norwegian; nr South Ndebele; nv Navajo; ny Chichewa;
    oc Occitan; oj Ojibwa; om Oromo; or Odia; os Ossetian; pa Punjabi; pi Pali; pl Polish; ps Pashto; pt Portuguese;
    qu Quechua; rm Romansh; rn Rundi; ro Romanian; ru Russian; rw Kinyarwanda; sa Sanskrit; sc Sardinian; sd Sindhi;
    se Northern Sami; sg Sango; sh Serbo-Croatian; si Sinhala; sk Slovak; sl Slovenian; sm Samoan; sn Shona;
    so Somali; sq Albanian; sr Serbian; ss Swati; st Southern Sotho; su Sundanese; sv Swedish; sw Swahili; ta Tamil;
    te Telugu; tg Tajik; th Thai; ti Tigrinya; tk Turkmen; tl Tagalog; tn Tswana; to Tongan; tr Turkish; ts Tsonga;
    tt Tatar; tw Twi; ty Tahitian; ug Uyghur; uk Ukrainian; ur Urdu; uz Uzbek; ve Venda; vi Vietnamese; vo Volapük;
    wa Walloon; wo Wolof; xh Xhosa; yi Yiddish; yo Yoruba; za Zhuang; zh Chinese; zu Zulu
"""
"""The English names of the languages that have an ISO 639-1 code."""
ENGLISH = dict(entry.strip().split(" ", 1) for entry in NAMES.split(";"))
CHINESE_SCRIPTS = {**dict.fromkeys(("tw", "hk", "mo", "zht"), "Hant"), **dict.fromkeys(("cn", "sg", "zhs"), "Hans")}
"""What is written in the parts of a code of Chinese that name no script."""
SAMPLE, LONGEST = 10_000, 1 << 20
"""Lines and characters that are looked at to find the script of a text."""
GRANDFATHERED = {"zh-min-nan": "nan", "zh-min": "nan", "zh-classical": "lzh", "zh-guoyu": "zh", "zh-hakka": "hak"}
"""Tags whose second part is no region, script or extended language."""


def parse(code: str) -> Language:
    """Return the language that a code means, whatever its form."""
    plain = re.split(r"[.@]", code.strip())[0].replace("_", "-").lower()
    first, *rest = GRANDFATHERED.get(plain, plain).split("-")
    language = CANONICAL.get(first, first)
    if language == "zh" and rest and CUSTOMARY.get(rest[0]) == CHINESE:  # an extended language, as in zh-yue
        language = rest[0]
    named = next((part.title() for part in rest if len(part) == 4 and part.isalpha()), "")
    script = VARIETIES.get(named, named) or CUSTOMARY.get(language, "")
    return Language(language, script)


def fits(code: str, wanted: str) -> bool:
    """Return whether text with one code serves where another is wanted: the same language, and no other script.

    Regions may differ, and a script that only one of the codes tells.
    """
    if parse(code).code != parse(wanted).code:
        return False
    scripts = _script(code), _script(wanted)
    return "" in scripts or scripts[0] == scripts[1]


def _script(code: str) -> str:
    """Return the script that a code names, or which of the two Chinese ones its region writes; else nothing."""
    first, *rest = re.split(r"[.@]", code.strip())[0].replace("_", "-").lower().split("-")
    if named := next((part.title() for part in rest if len(part) == 4 and part.isalpha()), ""):
        return named
    if parse(code).script != CHINESE:
        return ""
    return next((CHINESE_SCRIPTS[part] for part in (first, *rest) if part in CHINESE_SCRIPTS), "")


def short_code(code: str) -> str:
    """Return a code as programs exchange it: `Language.code` and its variety, as in `zh-Hant` and `pt-BR`."""
    _, *rest = re.split(r"[.@]", code.strip())[0].replace("_", "-").split("-")
    script = next((part.title() for part in rest if part.title() in ("Hans", "Hant")), "")
    region = next((part.upper() for part in rest if len(part) == 2 and part.isalpha()), "")
    return "-".join(filter(None, (parse(code).code, script or region)))


def english_name(code: str) -> str:
    """Return the English name of the language of a `short_code`; the code itself if it is not known."""
    first, _, variety = code.partition("-")
    name = ENGLISH.get(first)
    if name is None:
        return code
    return f"{name} ({variety})" if variety else name


def script_without_blanks(texts: Iterable[str]) -> str:
    """Return the script of most letters of these texts if it is written without blanks between words, else "".

    Only the beginning of a long text is looked at.
    """
    joined = "".join(islice(texts, SAMPLE))[:LONGEST]
    counts = {script: len(re.findall(f"[{ranges}]", joined)) for script, ranges in WITHOUT_BLANKS.items()}
    if 2 * sum(counts.values()) <= sum(map(str.isalpha, joined)):
        return ""
    if 20 * counts[JAPANESE] > counts[CHINESE] > 0:  # kana among Chinese characters
        return JAPANESE
    return max(counts, key=lambda script: counts[script])
