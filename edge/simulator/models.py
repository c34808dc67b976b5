"""The layout of SunSpec's information models, and a chain of them as one stretch of registers.

The tables were written for the simulator alone and are not the ones the agent's driver reads with,
so that a slip in either shows. A point that is never set stands as the standard's "not implemented"
value, never as zero. This module decides nothing about what a device measures.
"""

from collections.abc import Iterator, Sequence

MARK = (0x5375, 0x6E53)
"""The letters "SunS", where a chain begins."""

END = (0xFFFF, 0)

_LAYOUTS = {
    1: "Mn:S16 Md:S16 Opt:S8 Vr:S8 SN:S16 DA:u Pad:p",
    103: """
        A:u AphA:u AphB:u AphC:u A_SF:f PPVphAB:u PPVphBC:u PPVphCA:u PhVphA:u PhVphB:u
        PhVphC:u V_SF:f W:s W_SF:f Hz:u Hz_SF:f VA:s VA_SF:f VAr:s VAr_SF:f PF:s PF_SF:f
        WH:A WH_SF:f DCA:u DCA_SF:f DCV:u DCV_SF:f DCW:s DCW_SF:f TmpCab:s TmpSnk:s
        TmpTrns:s TmpOt:s Tmp_SF:f St:e StVnd:e Evt1:B Evt2:B EvtVnd1:B EvtVnd2:B EvtVnd3:B
        EvtVnd4:B
    """,
    120: """
        DERTyp:e WRtg:u WRtg_SF:f VARtg:u VARtg_SF:f VArRtgQ1:s VArRtgQ2:s VArRtgQ3:s
        VArRtgQ4:s VArRtg_SF:f ARtg:u ARtg_SF:f PFRtgQ1:s PFRtgQ2:s PFRtgQ3:s PFRtgQ4:s
        PFRtg_SF:f WHRtg:u WHRtg_SF:f AhrRtg:u AhrRtg_SF:f MaxChaRte:u MaxChaRte_SF:f
        MaxDisChaRte:u MaxDisChaRte_SF:f Pad:p
    """,
    123: """
        Conn_WinTms:u Conn_RvrtTms:u Conn:e WMaxLimPct:u WMaxLimPct_WinTms:u
        WMaxLimPct_RvrtTms:u WMaxLimPct_RmpTms:u WMaxLim_Ena:e OutPFSet:s OutPFSet_WinTms:u
        OutPFSet_RvrtTms:u OutPFSet_RmpTms:u OutPFSet_Ena:e VArWMaxPct:s VArMaxPct:s
        VArAvalPct:s VArPct_WinTms:u VArPct_RvrtTms:u VArPct_RmpTms:u VArPct_Mod:e
        VArPct_Ena:e WMaxLimPct_SF:f OutPFSet_SF:f VArPct_SF:f
    """,
    124: """
        WChaMax:u WChaGra:u WDisChaGra:u StorCtl_Mod:b VAChaMax:u MinRsvPct:u ChaState:u
        StorAval:u InBatV:u ChaSt:e OutWRte:s InWRte:s InOutWRte_WinTms:u
        InOutWRte_RvrtTms:u InOutWRte_RmpTms:u ChaGriSet:e WChaMax_SF:f WChaDisChaGra_SF:f
        VAChaMax_SF:f MinRsvPct_SF:f ChaState_SF:f StorAval_SF:f InBatV_SF:f InOutWRte_SF:f
    """,
    802: """
        AHRtg:u WHRtg:u WChaRteMax:u WDisChaRteMax:u DisChaRte:u SoCMax:u SoCMin:u
        SocRsvMax:u SoCRsvMin:u SoC:u DoD:u SoH:u NCyc:U ChaSt:e LocRemCtl:e Hb:u CtrlHb:u
        AlmRst:u Typ:e State:e StateVnd:e WarrDt:U Evt1:B Evt2:B EvtVnd1:B EvtVnd2:B V:u
        VMax:u VMin:u CellVMax:u CellVMaxStr:u CellVMaxMod:u CellVMin:u CellVMinStr:u
        CellVMinMod:u CellVAvg:u A:s AChaMax:u ADisChaMax:u W:s ReqInvState:e ReqW:s SetOp:e
        SetInvState:e AHRtg_SF:f WHRtg_SF:f WChaDisChaMax_SF:f DisChaRte_SF:f SoC_SF:f
        DoD_SF:f SoH_SF:f V_SF:f CellV_SF:f A_SF:f AMax_SF:f W_SF:f
    """,
    203: """
        A:s AphA:s AphB:s AphC:s A_SF:f PhV:s PhVphA:s PhVphB:s PhVphC:s PPV:s PhVphAB:s
        PhVphBC:s PhVphCA:s V_SF:f Hz:s Hz_SF:f W:s WphA:s WphB:s WphC:s W_SF:f VA:s
        VAphA:s VAphB:s VAphC:s VA_SF:f VAR:s VARphA:s VARphB:s VARphC:s VAR_SF:f PF:s
        PFphA:s PFphB:s PFphC:s PF_SF:f TotWhExp:A TotWhExpPhA:A TotWhExpPhB:A
        TotWhExpPhC:A TotWhImp:A TotWhImpPhA:A TotWhImpPhB:A TotWhImpPhC:A TotWh_SF:f
        TotVAhExp:A TotVAhExpPhA:A TotVAhExpPhB:A TotVAhExpPhC:A TotVAhImp:A
        TotVAhImpPhA:A TotVAhImpPhB:A TotVAhImpPhC:A TotVAh_SF:f TotVArhImpQ1:A
        TotVArhImpQ1PhA:A TotVArhImpQ1PhB:A TotVArhImpQ1PhC:A TotVArhImpQ2:A
        TotVArhImpQ2PhA:A TotVArhImpQ2PhB:A TotVArhImpQ2PhC:A TotVArhExpQ3:A
        TotVArhExpQ3PhA:A TotVArhExpQ3PhB:A TotVArhExpQ3PhC:A TotVArhExpQ4:A
        TotVArhExpQ4PhA:A TotVArhExpQ4PhB:A TotVArhExpQ4PhC:A TotVArh_SF:f Evt:B
    """,
    701: """
        ACType:e St:e InvSt:e ConnSt:e Alrm:B DERMode:B W:s VA:s Var:s PF:s A:s LLV:u LNV:u
        Hz:U TotWhInj:Q TotWhAbs:Q TotVarhInj:Q TotVarhAbs:Q TmpAmb:s TmpCab:s TmpSnk:s
        TmpTrns:s TmpSw:s TmpOt:s WL1:s VAL1:s VarL1:s PFL1:s AL1:s VL1L2:u VL1:u
        TotWhInjL1:Q TotWhAbsL1:Q TotVarhInjL1:Q TotVarhAbsL1:Q WL2:s VAL2:s VarL2:s PFL2:s
        AL2:s VL2L3:u VL2:u TotWhInjL2:Q TotWhAbsL2:Q TotVarhInjL2:Q TotVarhAbsL2:Q WL3:s
        VAL3:s VarL3:s PFL3:s AL3:s VL3L1:u VL3:u TotWhInjL3:Q TotWhAbsL3:Q TotVarhInjL3:Q
        TotVarhAbsL3:Q ThrotPct:u ThrotSrc:B A_SF:f V_SF:f Hz_SF:f W_SF:f PF_SF:f VA_SF:f
        Var_SF:f TotWh_SF:f TotVarh_SF:f Tmp_SF:f MnAlrmInfo:S32
    """,
    702: """
        WMaxRtg:u WOvrExtRtg:u WOvrExtRtgPF:u WUndExtRtg:u WUndExtRtgPF:u VAMaxRtg:u
        VarMaxInjRtg:u VarMaxAbsRtg:u WChaRteMaxRtg:u WDisChaRteMaxRtg:u VAChaRteMaxRtg:u
        VADisChaRteMaxRtg:u VNomRtg:u VMaxRtg:u VMinRtg:u AMaxRtg:u PFOvrExtRtg:u
        PFUndExtRtg:u ReactSusceptRtg:u NorOpCatRtg:e AbnOpCatRtg:e CtrlModes:B
        IntIslandCatRtg:b WMax:u WMaxOvrExt:u WOvrExtPF:u WMaxUndExt:u WUndExtPF:u VAMax:u
        VarMaxInj:u VarMaxAbs:u WChaRteMax:u WDisChaRteMax:u VAChaRteMax:u VADisChaRteMax:u
        VNom:u VMax:u VMin:u AMax:u PFOvrExt:u PFUndExt:u IntIslandCat:b W_SF:f PF_SF:f
        VA_SF:f Var_SF:f V_SF:f A_SF:f S_SF:f
    """,
    704: """
        PFWInjEna:e PFWInjEnaRvrt:e PFWInjRvrtTms:U PFWInjRvrtRem:U PFWAbsEna:e
        PFWAbsEnaRvrt:e PFWAbsRvrtTms:U PFWAbsRvrtRem:U WMaxLimPctEna:e WMaxLimPct:u
        WMaxLimPctRvrt:u WMaxLimPctEnaRvrt:e WMaxLimPctRvrtTms:U WMaxLimPctRvrtRem:U
        WSetEna:e WSetMod:e WSet:I WSetRvrt:I WSetPct:s WSetPctRvrt:s WSetEnaRvrt:e
        WSetRvrtTms:U WSetRvrtRem:U VarSetEna:e VarSetMod:e VarSetPri:e VarSet:I VarSetRvrt:I
        VarSetPct:s VarSetPctRvrt:s VarSetEnaRvrt:e VarSetRvrtTms:U VarSetRvrtRem:U WRmp:u
        WRmpRef:e VarRmp:u AntiIslEna:e PF_SF:f WMaxLimPct_SF:f WSet_SF:f WSetPct_SF:f
        VarSet_SF:f VarSetPct_SF:f PFInj:u ExtInj:e PFInjRvrt:u ExtInjRvrt:e PFAbs:u ExtAbs:e
        PFAbsRvrt:u ExtAbsRvrt:e
    """,
    713: "WHRtg:u WHAvail:u SoC:u SoH:u Sta:e WH_SF:f Pct_SF:f",
    715: "LocRemCtl:e DERHb:U ControllerHb:U AlarmReset:u OpCtl:e",
}
"""Points in order after each model's number and length. Letters: u, s 16 bits unsigned and signed,
f scale factor, e enumeration, b, B bit fields of 16 and 32, U, I, A 32 bits unsigned, signed and
accumulator, Q accumulator of 64 bits, p pad, Sn text of n registers."""

_UNBUILT = {"u": 0xFFFF, "s": 0x8000, "f": 0x8000, "e": 0xFFFF, "b": 0xFFFF, "p": 0x8000}
_UNBUILT_WIDE = {"U": 0xFFFF_FFFF, "B": 0xFFFF_FFFF, "I": 0x8000_0000, "A": 0, "Q": 0}
_WIDTHS = {"Q": 4}
"""Registers of a wide kind, 2 where it is not named."""


class Chain:
    """The models of one device from the mark to the end, as words counted from the mark."""

    def __init__(self, models: Sequence[int]) -> None:
        self.words: list[int] = list(MARK)
        self._places: dict[tuple[int, str], tuple[int, str]] = {}
        for model in models:
            self._append(model)
        self.words.extend(END)

    def place(self, model: int, point: str) -> int:
        """Which word, counted from the mark, a point begins with."""
        return self._places[model, point][0]

    def set(self, model: int, point: str, value: int | str) -> None:
        index, kind = self._places[model, point]
        if isinstance(value, str):
            width = 2 * int(kind[1:])
            octets = value.encode("ascii")[:width].ljust(width, b"\0")
            words = [int.from_bytes(octets[i : i + 2], "big") for i in range(0, width, 2)]
            self.words[index : index + len(words)] = words
        elif kind in _UNBUILT_WIDE:
            self.words[index : index + _WIDTHS.get(kind, 2)] = _wide(kind, value)
        else:
            self.words[index] = value & 0xFFFF

    def get(self, model: int, point: str) -> int:
        """A point of 16 or 32 bits, signed where its kind is."""
        index, kind = self._places[model, point]
        if kind in _UNBUILT_WIDE:
            wide = self.words[index] << 16 | self.words[index + 1]
            return wide - 0x1_0000_0000 if kind == "I" and wide >= 0x8000_0000 else wide
        word = self.words[index]
        return word - 0x10000 if kind in "sf" and word >= 0x8000 else word

    def _append(self, model: int) -> None:
        start = len(self.words)
        self.words.extend((model, 0))
        for name, kind in _points(model):
            self._places[model, name] = (len(self.words), kind)
            self.words.extend(_unbuilt(kind))
        self.words[start + 1] = len(self.words) - start - 2


def _points(model: int) -> Iterator[tuple[str, str]]:
    for entry in _LAYOUTS[model].split():
        name, _, kind = entry.partition(":")
        yield name, kind


def _unbuilt(kind: str) -> list[int]:
    if kind[0] == "S":
        return [0] * int(kind[1:])
    if kind in _UNBUILT_WIDE:
        return _wide(kind, _UNBUILT_WIDE[kind])
    return [_UNBUILT[kind]]


def _wide(kind: str, value: int) -> list[int]:
    """A value's words, high word first."""
    shifts = range(16 * (_WIDTHS.get(kind, 2) - 1), -1, -16)
    return [value >> shift & 0xFFFF for shift in shifts]
