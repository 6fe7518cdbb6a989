"""Abbreviations after which a full stop does not end a sentence, by language; data only.

ICU's own suppression lists (locale `xx-u-ss-standard`) were measured and left out: the English one joins "I bought an
app. They left" ("pp." matches the end of "app.") and "Go. Then ...", the lists of most languages are short, and loading
them makes a breaker forty times slower to construct. Everything here is lower case; matching folds case.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Nearly always followed by the name or number they belong to: never the end of a sentence.
TITLES: dict[str, frozenset[str]] = {
    "en": _words(
        "mr mrs ms messrs mme mlle dr drs prof profs rev revd hon st ste sr. fr gen lt col maj capt cmdr cpt "
        "sgt cpl pvt adm gov sen rep reps pres supt insp det mt ft vs cf viz e.g i.e eg ie esq. approx ca fig "
        "figs eq eqs sec. ch. vol vols pp nos lieut ald mgr msgr bros. ph.d. brig sens reps atty asst"
    ),
    "de": _words(
        "dr prof hr fr frl st dipl ing nr z.b d.h u.a v.a i.d.r z.t bzw ca vgl sog evtl ggf inkl exkl bspw "
        "zzgl abb tab kap geb gest jh verw art hrsg bd s.o s.u"
    ),
    "fr": _words("m mm mme mmes mlle dr pr prof me st ste cf p.ex env av apr vol chap fig p pp no art éd"),
    "es": _words(
        "sr sra srta sres dr dra d dña ud uds prof gral cap sto sta fig núm pág págs p.ej aprox vol art av avda"
    ),
    "it": _words("sig sigg sig.ra dott dott.ssa prof ing avv arch on s p.es cfr fig pag pagg art n ca vol cap"),
    "pt": _words("sr sra srs dr dra prof profa exmo exma v.exa eng d fig pág págs p.ex aprox vol art av nº n"),
    "nl": _words("dhr mevr mw dr drs prof ir ing mr st nr bijv o.a m.b.t d.w.z i.p.v ca blz vgl resp"),
    "pl": _words("dr prof mgr inż ks św ul al nr np tzw m.in por ok pt t.j tj wg im"),
    "ru": _words("г гг ул пр т.е т.к т.н т.д. проф акад им напр см ср рис стр тов д кв тыс млн млрд руб коп обл"),
    "el": _words("κ κα κος δρ καθ π.χ δηλ βλ αρ σελ λ.χ"),
    "sv": _words("dr prof t.ex bl.a d.v.s dvs ca kl nr s.k fr.o.m t.o.m"),
    "da": _words("dr prof f.eks bl.a dvs ca kl nr hr fr"),
    "no": _words("dr prof f.eks bl.a dvs ca kl nr hr fr"),
    "cs": _words("dr ing mgr prof doc sv např tzv tj č str sv ul"),
    "tr": _words("dr prof doç av sn vb. bkz örn alb"),
    "fi": _words("dr prof esim ks n ns mm"),
    "hu": _words("dr prof pl ún ill kb sz id özv"),
    "ro": _words("dl d-na dna dr prof ing str nr pag art"),
}

# May end a sentence: a break stays only before a word that usually starts one (or before an opening quote).
EITHER: dict[str, frozenset[str]] = {
    "en": _words(
        "inc co corp ltd llc bros plc jr sr esq etc a.m p.m ph.d m.d b.a m.a d.c u.s u.k u.n e.u u.s.a "
        "u.s.s.r n.y l.a a.d b.c b.c.e c.e p.s no. dept univ assn est ave blvd rd al jan feb mar apr jun jul "
        "aug sept sep oct nov dec mass calif conn fla ill ind mich minn mo tenn tex va wash wis ariz ark colo "
        "del ga ky md miss mont neb nev okla ore pa vt wyo"
    ),
    "de": _words("usw etc u.s.w v.chr n.chr a.d jr sen jan feb aug sept okt nov dez"),
    "fr": _words("etc janv févr avr juil sept oct nov déc j.-c"),
    "es": _words("etc ee.uu a.c d.c s.a jr"),
    "it": _words("ecc a.c d.c s.p.a"),
    "pt": _words("etc a.c d.c ltda s.a jr"),
    "nl": _words("enz etc a.d jr"),
    "pl": _words("itd itp r w n.e p.n.e"),
    "ru": _words("т.д т.п др пр н.э р"),
}

# Followed by a digit these are never an end: "No. 5", "p. 12", "Jan. 3".
BEFORE_NUMBERS: dict[str, frozenset[str]] = {
    "en": _words(
        "no nos p pp vol ch chap sec sect art fig ver par para jan feb mar apr jun jul aug sept sep oct nov dec c s"
    ),
    "de": _words("s nr bd kap art abs abb tab jan feb apr aug sept okt nov dez"),
    "fr": _words("p no n art chap t vol"),
}

# English words that open a sentence far more often than they follow an abbreviation as part of a name.
ENGLISH_STARTERS: frozenset[str] = _words(
    "the a an this that these those there here he she it they we i you his her its their our my your in "
    "on at by for from with to as if when while after before since because although though however but "
    "and or so yet nor then now what who where why how which one some many most all both each every no "
    "not nothing nobody such other another first second finally later meanwhile also even still just only "
    "perhaps maybe once until unless despite during under over according officials please let yes well is "
    "are was were do does did has have had will would can could should may might must more less about "
    "today yesterday tomorrow last next"
)
