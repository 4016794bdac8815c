"""The words of the quickstart corpus, as tables to read and extend.

An underscore stands for a space inside one entry.
"""

from __future__ import annotations

# One record per kind: determiners ("own": of some owner, "bare": none), fitting adjectives, nouns.
# A noun: English singular and plural; German article ("pl": always plural), noun, genitive ending, plural ("-": none).
NOUN_TABLE = """
person | the the a this that | young old nice clever famous rich poor hungry tired sick tall strong beautiful |
    man men der Mann es Männer; woman women die Frau - Frauen; policeman policemen der Polizist en Polizisten;
    farmer farmers der Bauer n Bauern; person people der Mensch en Menschen
fellow | the the a this own own | nice clever funny hungry tired sick good friendly new old |
    child children das Kind es Kinder; teacher teachers der Lehrer s Lehrer; doctor doctors der Arzt es Ärzte;
    student students der Student en Studenten; neighbour neighbours der Nachbar n Nachbarn;
    friend friends der Freund es Freunde; colleague colleagues der Kollege n Kollegen;
    guest guests der Gast es Gäste; boss bosses der Chef s Chefs; baby babies das Baby s Babys
youth | the the a this | nice clever funny hungry tired sick small lazy beautiful |
    girl girls das Mädchen s Mädchen; boy boys der Junge n Jungen
kin | own | nice clever funny hungry tired sick old young |
    brother brothers der Bruder s Brüder; sister sisters die Schwester - Schwestern; father - der Vater s -;
    mother - die Mutter - -; son sons der Sohn es Söhne; daughter daughters die Tochter - Töchter;
    uncle uncles der Onkel s Onkel; aunt aunts die Tante - Tanten; grandmother - die Großmutter - -;
    grandfather - der Großvater s -; wife - die Frau - -; husband - der Mann es -; parents - pl Eltern - -;
    family - die Familie - -
relation | a a | |
    brother brothers der Bruder s Brüder; sister sisters die Schwester - Schwestern; son sons der Sohn es Söhne;
    daughter daughters die Tochter - Töchter; child children das Kind es Kinder
animal | the the a this own | young old small big hungry sick black white brown dangerous beautiful |
    dog dogs der Hund es Hunde; cat cats die Katze - Katzen; horse horses das Pferd es Pferde;
    bird birds der Vogel s Vögel; mouse mice die Maus - Mäuse; fish - der Fisch es -;
    cow cows die Kuh - Kühe; animal animals das Tier s Tiere
text | the the a a this own | long short interesting boring new old important difficult good |
    book books das Buch es Bücher; letter letters der Brief es Briefe; report reports der Bericht s Berichte;
    newspaper newspapers die Zeitung - Zeitungen; message messages die Nachricht - Nachrichten
tale | the the a a this own | long short interesting boring new old good funny sad |
    story stories die Geschichte - Geschichten; poem poems das Gedicht s Gedichte
song | the the a a this own | long short beautiful new old good sad |
    song songs das Lied es Lieder
film | the the a a this | long short interesting boring new old good bad funny |
    film films der Film s Filme; movie movies der Film s Filme; game games das Spiel s Spiele
food | the the a a this own | fresh good small big cheap delicious sweet |
    apple apples der Apfel s Äpfel; egg eggs das Ei s Eier; potato potatoes die Kartoffel - Kartoffeln;
    cake cakes der Kuchen s Kuchen; sausage sausages die Wurst - Würste; tomato tomatoes die Tomate - Tomaten;
    banana bananas die Banane - Bananen; soup soups die Suppe - Suppen; pizza pizzas die Pizza - Pizzas
meal | the own | good small big delicious cheap |
    breakfast - das Frühstück s -; lunch - das Mittagessen s -; dinner - das Abendessen s -
substance | the bare bare own | fresh good cheap expensive |
    bread - das Brot s -; meat - das Fleisch s -; butter - die Butter - -; cheese - der Käse s -;
    rice - der Reis es -; chocolate - die Schokolade - -; fruit - das Obst es -
drink | the a bare bare own | cold warm hot good |
    coffee - der Kaffee s -; milk - die Milch - -; water - das Wasser s -; tea - der Tee s -; beer - das Bier s -;
    wine - der Wein es -; juice - der Saft es -
glassful | a the | |
    cup_of_tea - die Tasse_Tee - -; cup_of_coffee - die Tasse_Kaffee - -; glass_of_water - das Glas_Wasser es -;
    glass_of_wine - das Glas_Wein es -; bottle_of_beer - die Flasche_Bier - -
thing | the the a a this that own | new old big small expensive cheap black white green beautiful |
    key keys der Schlüssel s Schlüssel; knife knives das Messer s Messer; cup cups die Tasse - Tassen;
    umbrella umbrellas der Regenschirm s Regenschirme; picture pictures das Bild es Bilder;
    glass glasses das Glas es Gläser; bag bags die Tasche - Taschen; ball balls der Ball s Bälle;
    pen pens der Stift s Stifte; ticket tickets das Ticket s Tickets; present presents das Geschenk s Geschenke;
    flower flowers die Blume - Blumen; bottle bottles die Flasche - Flaschen; plate plates der Teller s Teller
furniture | the the a a this own | new old big small expensive cheap clean beautiful heavy |
    table tables der Tisch es Tische; chair chairs der Stuhl s Stühle; bed beds das Bett es Betten
device | the the a a this own | new old small big expensive cheap broken |
    computer computers der Computer s Computer; phone phones das Handy s Handys; radio radios das Radio s Radios;
    television televisions der Fernseher s Fernseher; camera cameras die Kamera - Kameras;
    lamp lamps die Lampe - Lampen
machine | the the a a this that own | new old small big fast expensive cheap broken red blue white |
    car cars das Auto s Autos; bicycle bicycles das Fahrrad s Fahrräder; bike bikes das Fahrrad s Fahrräder;
    clock clocks die Uhr - Uhren;
    boat boats das Boot es Boote
vehicle | the the a this | new old big fast slow full empty |
    bus buses der Bus ses Busse; train trains der Zug s Züge; plane planes das Flugzeug s Flugzeuge;
    taxi taxis das Taxi s Taxis
cloth | the the a a this own | new old warm clean dirty beautiful expensive cheap red blue green black white yellow |
    coat coats der Mantel s Mäntel; shirt shirts das Hemd es Hemden; dress dresses das Kleid es Kleider;
    hat hats der Hut es Hüte; jacket jackets die Jacke - Jacken; shoe shoes der Schuh s Schuhe;
    skirt skirts der Rock s Röcke
opening | the the this own | new old small big heavy dirty green white brown |
    door doors die Tür - Türen; window windows das Fenster s Fenster; box boxes die Kiste - Kisten
house | the the a a this that own | new old small big beautiful expensive cheap quiet red white |
    house houses das Haus es Häuser; flat flats die Wohnung - Wohnungen;
    apartment apartments die Wohnung - Wohnungen; room rooms das Zimmer s Zimmer
inside | the the a this | small big dark beautiful old clean |
    kitchen kitchens die Küche - Küchen; garden gardens der Garten s Gärten; cellar cellars der Keller s Keller;
    forest forests der Wald es Wälder; bathroom bathrooms das Bad es Bäder; office offices das Büro s Büros
venue | the the a this that | new old small big beautiful famous good |
    park parks der Park s Parks; museum museums das Museum s Museen; library libraries die Bibliothek - Bibliotheken;
    hotel hotels das Hotel s Hotels; school schools die Schule - Schulen; church churches die Kirche - Kirchen;
    restaurant restaurants das Restaurant s Restaurants; cinema cinemas das Kino s Kinos;
    shop shops das Geschäft s Geschäfte; supermarket supermarkets der Supermarkt s Supermärkte;
    hospital hospitals das Krankenhaus es Krankenhäuser; city cities die Stadt - Städte;
    village villages das Dorf es Dörfer; theatre theatres das Theater s Theater; bank banks die Bank - Banken;
    university universities die Universität - Universitäten
stop | the the a this | new old small big |
    station stations der Bahnhof s Bahnhöfe; airport airports der Flughafen s Flughäfen; lake lakes der See s Seen;
    beach beaches der Strand es Strände
sight | the the a this that | big small old beautiful green |
    tree trees der Baum s Bäume; mountain mountains der Berg es Berge; river rivers der Fluss es Flüsse;
    bridge bridges die Brücke - Brücken; sea - das Meer s -; street streets die Straße - Straßen
event | the the this own | long short beautiful boring interesting |
    concert concerts das Konzert s Konzerte; party parties die Feier - Feiern; trip trips die Reise - Reisen;
    exam exams die Prüfung - Prüfungen
idea | the the a this own | new good bad difficult important easy |
    question questions die Frage - Fragen; answer answers die Antwort - Antworten; word words das Wort es Wörter;
    problem problems das Problem s Probleme; idea ideas die Idee - Ideen; name names der Name ns Namen
supply | bare bare the own | |
    money - das Geld es -; time - die Zeit - -; work - die Arbeit - -; help - die Hilfe - -
music | bare bare the this | good beautiful loud quiet |
    music - die Musik - -
language | bare | |
    German - das Deutsch s -; English - das Englisch s -; French - das Französisch s -; Spanish - das Spanisch s -;
    Italian - das Italienisch s -
sport | bare | |
    football - der Fußball s -; tennis - das Tennis - -; chess - das Schach s -; the_piano - das Klavier s -;
    the_guitar - die Gitarre - -; cards - pl Karten - -
birthday | own | |
    birthday - der Geburtstag s -
weather | the the this | bad good beautiful cold warm |
    weather - das Wetter s -
"""
ADJECTIVES = """old=alt; new=neu; young=jung; big=groß; small=klein; long=lang; short=kurz; cold=kalt; warm=warm;
    hot=heiß; fresh=frisch; good=gut; bad=schlecht; beautiful=schön; nice=nett; expensive=teuer; cheap=billig;
    heavy=schwer; dark=dunkel; clean=sauber; dirty=schmutzig; interesting=interessant; boring=langweilig;
    famous=berühmt; clever=klug; funny=lustig; rich=reich; poor=arm; hungry=hungrig; thirsty=durstig; sick=krank;
    healthy=gesund; broken=kaputt; happy=glücklich; sad=traurig; tired=müde; proud=stolz; angry=wütend; red=rot;
    blue=blau; green=grün; black=schwarz; white=weiß; brown=braun; yellow=gelb; tall=groß; strong=stark; lazy=faul;
    friendly=freundlich; important=wichtig; difficult=schwierig; easy=einfach; delicious=lecker; sweet=süß;
    dangerous=gefährlich; fast=schnell; slow=langsam; full=voll; empty=leer; loud=laut; quiet=ruhig;
    wonderful=wunderbar; great=toll; late=spät; free=frei; right=richtig; wrong=falsch; ready=bereit; alone=allein;
    married=verheiratet; busy=beschäftigt"""
COLOURS = "red blue green black white brown yellow"
MOODS = "happy sad proud angry tired"
REASONS = "tired hungry sick happy sad angry"
# What people are, besides the adjectives that stand before them.
STATES = "happy sad tired hungry thirsty sick healthy proud angry ready alone married busy rich young old"
PROFESSIONS = """teacher=Lehrer; doctor=Arzt; student=Student; farmer=Bauer; policeman=Polizist; cook=Koch;
    engineer=Ingenieur; lawyer=Anwalt"""
FEMALE_PROFESSIONS = """teacher=Lehrerin; doctor=Ärztin; student=Studentin; farmer=Bäuerin; cook=Köchin;
    engineer=Ingenieurin; lawyer=Anwältin"""
# English base, third person, past, participle | German infinitive, third person, participle | frame | objects | marks
# Marks: p in some place, m quickly or slowly, g well or badly, w with somebody, t by some transport,
# n not at will (so no modal verb), s a lasting state (present, past and will), v the same without will,
# c no progressive, x a pronoun stands before the particle (pick him up), a animals do it too.
VERB_TABLE = """
buy buys bought bought | kaufen kauft gekauft | acc | text food substance thing machine device cloth house furniture |
sell sells sold sold | verkaufen verkauft verkauft | acc | food thing machine device cloth house furniture animal |
read reads read read | lesen liest gelesen | acc | text text tale | pm
write writes wrote written | schreiben schreibt geschrieben | acc | text text tale | pm
eat eats ate eaten | essen isst gegessen | acc | food food substance meal | pa
drink drinks drank drunk | trinken trinkt getrunken | acc | drink drink glassful | pa
see sees saw seen | sehen sieht gesehen | acc | people people animal sight house film vehicle | pnca
hear hears heard heard | hören hört gehört | acc | people animal music song | nca
find finds found found | finden findet gefunden | acc | thing animal idea supply sight | pnc
look_for looks_for looked_for looked_for | suchen sucht gesucht | acc | people animal thing house supply sight | p
lose loses lost lost | verlieren verliert verloren | acc | thing film supply | pnc
forget forgets forgot forgotten | vergessen vergisst vergessen | acc | people thing idea birthday | nc
take takes took taken | nehmen nimmt genommen | acc | vehicle thing food |
use uses used used | benutzen benutzt benutzt | acc | thing machine device |
make makes made made | machen macht gemacht | acc | meal drink |
cook cooks cooked cooked | kochen kocht gekocht | acc | meal food substance | p
build builds built built | bauen baut gebaut | acc | house furniture |
paint paints painted painted | malen malt gemalt | acc | animal sight house | pm
open opens opened opened | auf-machen macht aufgemacht | acc | opening | m
close closes closed closed | zu-machen macht zugemacht | acc | opening | m
turn_on turns_on turned_on turned_on | an-machen macht angemacht | acc | device | x
turn_off turns_off turned_off turned_off | aus-machen macht ausgemacht | acc | device | x
clean cleans cleaned cleaned | putzen putzt geputzt | acc | house inside opening |
wash washes washed washed | waschen wäscht gewaschen | acc | cloth animal | m
repair repairs repaired repaired | reparieren repariert repariert | acc | machine device opening | m
wear wears wore worn | tragen trägt getragen | acc | cloth |
put_on puts_on put_on put_on | an-ziehen zieht angezogen | acc | cloth | mx
take_off takes_off took_off taken_off | aus-ziehen zieht ausgezogen | acc | cloth | mx
bring_along brings_along brought_along brought_along | mit-bringen bringt mitgebracht | acc | food thing | x
call calls called called | an-rufen ruft angerufen | acc | people |
invite invites invited invited | ein-laden lädt eingeladen | acc | people |
leave leaves left left | verlassen verlässt verlassen | acc | people house venue |
visit visits visited visited | besuchen besucht besucht | acc | people people venue | w
pick_up picks_up picked_up picked_up | ab-holen holt abgeholt | acc | people | wx
meet meets met met | treffen trifft getroffen | acc | people | p
ask asks asked asked | fragen fragt gefragt | acc | people |
kiss kisses kissed kissed | küssen küsst geküsst | acc | people |
teach teaches taught taught | unterrichten unterrichtet unterrichtet | acc | people |
love loves loved loved | lieben liebt geliebt | acc | people people animal music language sight | sa
like likes liked liked | mögen mag gemocht | acc | people animal food substance drink music cloth house film song | va
hate hates hated hated | hassen hasst gehasst | acc | people animal music food | s
miss misses missed missed | vermissen vermisst vermisst | acc | people animal | s
know knows knew known | kennen kennt gekannt | acc | people text song film venue | s
have has had had | haben hat gehabt | acc | animal machine cloth thing house idea supply device relation | s
need needs needed needed | brauchen braucht gebraucht | acc | thing machine cloth supply device drink | s
want wants wanted wanted | wollen will gewollt | acc | animal thing machine cloth drink food glassful house | v
understand understands understood understood | verstehen versteht verstanden | acc | people language idea text | s
speak speaks spoke spoken | sprechen spricht gesprochen | acc | language | g
learn learns learned learned | lernen lernt gelernt | acc | language | m
play plays played played | spielen spielt gespielt | acc | sport | pwg
watch watches watched watched | sehen sieht gesehen | acc | film | wp
listen_to listens_to listened_to listened_to | hören hört gehört | acc | music song | p
sing sings sang sung | singen singt gesungen | acc | song | gp
win wins won won | gewinnen gewinnt gewonnen | acc | film-game | nc
help helps helped helped | helfen hilft geholfen | dat | people | p
thank thanks thanked thanked | danken dankt gedankt | dat | people |
answer answers answered answered | antworten antwortet geantwortet | dat | people |
believe believes believed believed | glauben glaubt geglaubt | dat | people | c
follow follows followed followed | folgen folgt ist_gefolgt | dat | people animal | ma
give gives gave given | geben gibt gegeben | dat acc | food thing cloth supply-money drink |
show shows showed shown | zeigen zeigt gezeigt | dat acc | text thing animal house sight |
send sends sent sent | schicken schickt geschickt | dat acc | text thing |
bring brings brought brought | bringen bringt gebracht | dat acc | drink food thing glassful |
tell tells told told | erzählen erzählt erzählt | dat acc | tale-story |
explain explains explained explained | erklären erklärt erklärt | acc | idea | g
wait_for waits_for waited_for waited_for | warten wartet gewartet | auf acc | people people vehicle | p
think_of thinks_of thought_of thought_of | denken denkt gedacht | an acc | people event | n
talk_to talks_to talked_to talked_to | sprechen spricht gesprochen | mit dat | people | p
talk_about talks_about talked_about talked_about | sprechen spricht gesprochen | über acc | people text event film | p
play_with plays_with played_with played_with | spielen spielt gespielt | mit dat | animal | pa
remember remembers remembered remembered | sich_erinnern erinnert erinnert | an acc | people event text | nc
dream_of dreams_of dreamed_of dreamed_of | träumen träumt geträumt | von dat | people event | n
work works worked worked | arbeiten arbeitet gearbeitet | | | pw
play plays played played | spielen spielt gespielt | | | pwa
study studies studied studied | studieren studiert studiert | | |
eat eats ate eaten | essen isst gegessen | | | pa
read reads read read | lesen liest gelesen | | | p
cook cooks cooked cooked | kochen kocht gekocht | | | wg
learn learns learned learned | lernen lernt gelernt | | | pm
sleep sleeps slept slept | schlafen schläft geschlafen | | | pga
sing sings sang sung | singen singt gesungen | | | pwg
dance dances danced danced | tanzen tanzt getanzt | | | pwg
pay pays paid paid | bezahlen bezahlt bezahlt | | |
laugh laughs laughed laughed | lachen lacht gelacht | | |
cry cries cried cried | weinen weint geweint | | | p
smoke smokes smoked smoked | rauchen raucht geraucht | | | p
wait waits waited waited | warten wartet gewartet | | | pa
talk talks talked talked | reden redet geredet | | | wp
swim swims swam swum | schwimmen schwimmt ist_geschwommen | | | wga
rest rests rested rested | sich_aus-ruhen ruht ausgeruht | | | p
get_up gets_up got_up got_up | auf-stehen steht ist_aufgestanden | | |
wake_up wakes_up woke_up woken_up | auf-wachen wacht ist_aufgewacht | | | n
watch_TV watches_TV watched_TV watched_TV | fern-sehen sieht ferngesehen | | |
have_breakfast has_breakfast had_breakfast had_breakfast | frühstücken frühstückt gefrühstückt | | | wp
go_shopping goes_shopping went_shopping gone_shopping | ein-kaufen kauft eingekauft | | | w
fall_asleep falls_asleep fell_asleep fallen_asleep | ein-schlafen schläft ist_eingeschlafen | | | na
come_back comes_back came_back come_back | zurück-kommen kommt ist_zurückgekommen | | | na
arrive arrives arrived arrived | an-kommen kommt ist_angekommen | | | n
die dies died died | sterben stirbt ist_gestorben | | | na
go goes went gone | gehen geht ist_gegangen | goal | | w
come comes came come | kommen kommt ist_gekommen | goal | | wa
walk walks walked walked | gehen geht ist_gegangen | goal | | w
run runs ran run | laufen läuft ist_gelaufen | goal | | ma
go goes went gone | fahren fährt ist_gefahren | to | | tw
drive drives drove driven | fahren fährt ist_gefahren | to | | w
travel travels travelled travelled | reisen reist ist_gereist | to | | tw
fly flies flew flown | fliegen fliegt ist_geflogen | to | | w
stay stays stayed stayed | bleiben bleibt ist_geblieben | place | | wa
stand stands stood stood | stehen steht gestanden | place | | a
lie lies lay lain | liegen liegt gelegen | place | | a
sit sits sat sat | sitzen sitzt gesessen | place | | a
live lives lived lived | wohnen wohnt gewohnt | in | | s
work works worked worked | arbeiten arbeitet gearbeitet | in | |
come comes came come | kommen kommt ist_gekommen | from | | sc
say says said said | sagen sagt gesagt | that | | s
think thinks thought thought | denken denkt gedacht | that | | s
hope hopes hoped hoped | hoffen hofft gehofft | that | | s
believe believes believed believed | glauben glaubt geglaubt | that | | s
know knows knew known | wissen weiß gewusst | that | | s
know knows knew known | wissen weiß gewusst | whether | | s
wonder wonders wondered wondered | sich_fragen fragt gefragt | whether | | s
try tries tried tried | versuchen versucht versucht | infinitive | | n
forget forgets forgot forgotten | vergessen vergisst vergessen | infinitive | | n
promise promises promised promised | versprechen verspricht versprochen | infinitive | | n
start starts started started | an-fangen fängt angefangen | infinitive | | n
begin begins began begun | an-fangen fängt angefangen | infinitive | | n
do does did done | machen macht gemacht | do | |
rain rains rained rained | regnen regnet geregnet | weather | |
snow snows snowed snowed | schneien schneit geschneit | weather | |
be is was been | sein ist ist_gewesen | be | | n
"""
WOMEN = """Anna Maria Julia Laura Lena Sophie Emma Clara Paula Nina Eva Lisa Sarah Helga Ingrid Monika Petra
    Sabine Karin Birgit Greta Ida Martha Ruth Mary Kate"""
MEN = """Peter Thomas Paul Jonas Lukas Felix Max Leon Tim Jan Karl Hans Martin Stefan Andreas Klaus Uwe Otto
    Emil Anton Oskar Erik David Simon Tom John"""
CITIES = """Berlin=Berlin; Hamburg=Hamburg; Munich=München; Cologne=Köln; Vienna=Wien; Zurich=Zürich; Prague=Prag;
    Rome=Rom; Venice=Venedig; Paris=Paris; London=London; Warsaw=Warschau; Lisbon=Lissabon; Dresden=Dresden;
    Leipzig=Leipzig; Oslo=Oslo; New York=New York; Germany=Deutschland; France=Frankreich; England=England;
    Italy=Italien; Spain=Spanien; Austria=Österreich"""
SYLLABLES = ("Bra Dol Fen Gri Kel Lum Mor Nev Pra Sil Tor Vel", "a e i o u", "ka la mo na ro ta vo")
TIMES = {
    "habit": """every morning=jeden Morgen; every evening=jeden Abend; every day=jeden Tag; every week=jede Woche;
        every night=jede Nacht; every year=jedes Jahr; in the morning=am Morgen; in the afternoon=am Nachmittag;
        in the evening=am Abend; at night=nachts; at the weekend=am Wochenende; in summer=im Sommer;
        in winter=im Winter; on Mondays=montags; on Fridays=freitags; on Saturdays=samstags; on Sundays=sonntags;
        after breakfast=nach dem Frühstück""",
    "past": """yesterday=gestern; yesterday=gestern; yesterday evening=gestern Abend; last night=letzte Nacht;
        this morning=heute Morgen; last week=letzte Woche; last month=letzten Monat; last year=letztes Jahr;
        last Saturday=letzten Samstag; last summer=letzten Sommer; on Monday=am Montag; on Friday=am Freitag;
        on Thursday=am Donnerstag; before the concert=vor dem Konzert; during the trip=während der Reise;
        today=heute""",
    "future": """tomorrow=morgen; tomorrow=morgen; tomorrow morning=morgen früh; tomorrow evening=morgen Abend;
        tonight=heute Abend; on Tuesday=am Dienstag; this evening=heute Abend; next week=nächste Woche;
        next month=nächsten Monat; next year=nächstes Jahr; next Saturday=nächsten Samstag; on Sunday=am Sonntag;
        on Wednesday=am Mittwoch; after the exam=nach der Prüfung; during the concert=während des Konzerts;
        today=heute; soon=bald; later=später""",
    "now": "today=heute; this week=diese Woche; at the moment=im Moment; now=jetzt; today=heute; now=jetzt",
}
HABITS = "often=oft; always=immer; sometimes=manchmal; rarely=selten; usually=meistens; never=nie"
PERFECT_ADVERBS = "already=schon; just=gerade; never=noch nie; never=noch nie"
PROGRESSIVE_ADVERBS = "still=noch; just=gerade"
MANNERS = {
    "m": "quickly=schnell; slowly=langsam",
    "g": "well=gut; well=gut; badly=schlecht",
    "t": "by train=mit dem Zug; by car=mit dem Auto; by bus=mit dem Bus",
}
UNGRADED = "alone married ready broken right free"
DEGREES = "very=sehr; very=sehr; too=zu; so=so"
MONTHS = """January=Januar; February=Februar; March=März; April=April; May=Mai; June=Juni; July=Juli; August=August;
    September=September; October=Oktober; November=November; December=Dezember"""
DAYS = """Monday=Montag; Tuesday=Dienstag; Wednesday=Mittwoch; Thursday=Donnerstag; Friday=Freitag; Saturday=Samstag;
    Sunday=Sonntag"""
UNITS = "hours=Stunden; days=Tagen; weeks=Wochen"
CONDITIONS = """it rains=es regnet; it snows=es schneit; the sun shines=die Sonne scheint; it is cold=es kalt ist;
    the weather is nice=das Wetter schön ist"""
JUDGEMENTS = "important=wichtig; difficult=schwierig; easy=einfach; necessary=nötig"
PLACES = {
    "house place": ("in", "in"),
    "house goal": ("into", "in"),
    "inside place": ("in", "in"),
    "inside goal": ("into", "in"),
    "venue place": ("in", "in"),
    "venue goal": ("to", "in"),
    "stop place": ("at", "an"),
    "stop goal": ("to", "zu"),
    "furniture place": ("on", "auf"),
}
FIXED_PLACES = {
    "place": "at home=zu Hause; at home=zu Hause; at school=in der Schule; at work=bei der Arbeit; in bed=im Bett; "
    "here=hier; there=dort; outside=draußen",
    "goal": "home=nach Hause; home=nach Hause; to school=zur Schule; to work=zur Arbeit; to bed=ins Bett; "
    "to the doctor=zum Arzt",
}
CITY_PREPOSITIONS = {"to": "nach", "in": "in", "from": "aus"}
